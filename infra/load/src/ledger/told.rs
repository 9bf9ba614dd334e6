//! Faults, told without flooding whoever reads them.

/// Faults of one kind that are told; the others are counted.
pub(super) const TOLD: usize = 5;

/// The first of many like it.
#[derive(Clone, Default)]
pub(super) struct Told {
    first: Vec<String>,
    more: u64,
}

impl Told {
    pub(super) const fn new() -> Told {
        Told {
            first: Vec::new(),
            more: 0,
        }
    }

    pub(super) fn tell(&mut self, what: impl FnOnce() -> String) {
        if self.first.len() < TOLD {
            self.first.push(what());
        } else {
            self.more += 1;
        }
    }

    pub(super) fn lines(self) -> impl Iterator<Item = String> {
        let more = (self.more > 0).then(|| format!("… and {} more like this", self.more));
        self.first.into_iter().chain(more)
    }
}
