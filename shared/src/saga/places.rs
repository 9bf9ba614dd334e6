//! Places for open documents: what this instance knows, and whether another one may come.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use uuid::Uuid;

/// So long after documents were seen to become final, it is taken for granted that they do.
const FLOWS_FOR: Duration = Duration::from_secs(5);
/// Keys whose open documents are counted at a time.
const KEYS_AT_A_TIME: usize = 8;

/// How many documents may be open, in all instances together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// In all.
    pub all: usize,
    /// With events of one key.
    pub of_key: usize,
}

/// Which limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// [`Limits::all`].
    All,
    /// [`Limits::of_key`].
    OfKey,
}

/// What is open, as far as this instance knows.
#[derive(Debug, Clone)]
pub struct Backlog(Arc<Known>);

#[derive(Debug)]
struct Known {
    limits: Limits,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: Tally,
    /// Of those counted, how many have been open so long that others need not wait for them.
    stuck: usize,
    /// When documents were last seen to become final.
    flowed: Option<Instant>,
    keys: BTreeMap<Uuid, Tally>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    /// In the database, when they were counted last.
    counted: usize,
    counted_at: Option<Instant>,
    /// Accepted here since that count was begun.
    since: usize,
    /// Asked for here and not decided.
    asked: usize,
}

impl Tally {
    fn open(self) -> usize {
        self.counted + self.since + self.asked
    }

    /// What was accepted `before` the count was begun is in it.
    fn is(&mut self, counted: usize, before: usize) {
        self.counted = counted;
        self.counted_at = Some(Instant::now());
        self.since = self.since.saturating_sub(before);
    }
}

/// What is known when a count is begun.
#[derive(Debug)]
pub(super) struct Before {
    all: usize,
    keys: BTreeMap<Uuid, usize>,
    /// Those whose open documents are to be counted, too.
    pub(super) wanted: Vec<Uuid>,
    /// More need not be counted in all.
    pub(super) most: usize,
    /// More need not be counted of a key.
    pub(super) most_of_key: usize,
}

/// What was counted.
#[derive(Debug)]
pub(super) struct Counted {
    /// In all, at most [`Before::most`].
    pub(super) all: usize,
    /// Of these, open for long.
    pub(super) stuck: usize,
    /// Of the keys wanted.
    pub(super) keys: BTreeMap<Uuid, usize>,
}

/// The place of a document that is asked for; free again when dropped, unless it was kept.
#[derive(Debug)]
pub struct Place(Arc<Known>, Uuid);

impl Place {
    /// There is one more open document.
    pub fn keep(self) {
        let mut counts = self.0.counts();
        counts.all.since += 1;
        counts.keys.entry(self.1).or_default().since += 1;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.0.counts();
        counts.all.asked -= 1;
        if let Some(tally) = counts.keys.get_mut(&self.1) {
            tally.asked -= 1;
            if tally.open() == 0 {
                counts.keys.remove(&self.1);
            }
        }
    }
}

impl Known {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn flows(&self) -> bool {
        self.flowed.is_some_and(|flowed| flowed.elapsed() < FLOWS_FOR)
    }

    /// Documents that have been open for long say nothing about the backlog, as long as others become
    /// final: they do not count. Where none becomes final, whoever answers may be away, so they do;
    /// but some are let through all the same, because only these can show that it is back.
    fn has_room(&self, limits: Limits) -> bool {
        let open = self.all.open();
        let young = open.saturating_sub(self.stuck);
        let most_young = if self.flows() {
            limits.all
        } else {
            limits.all.div_ceil(100)
        };
        open <= limits.all || self.stuck > 0 && young <= most_young
    }
}

impl Backlog {
    /// At most about so many documents.
    pub fn new(limits: Limits) -> Backlog {
        Backlog(Arc::new(Known {
            limits,
            counts: Mutex::default(),
        }))
    }

    /// A place for another document with this key, if one may be taken.
    pub fn enter(&self, key: Uuid) -> Result<Place, Full> {
        let limits = self.0.limits;
        let place = Place(self.0.clone(), key);
        let mut counts = self.0.counts();
        counts.all.asked += 1;
        let tally = counts.keys.entry(key).or_default();
        tally.asked += 1;
        let of_key = tally.open();
        let has_room = counts.has_room(limits);
        // A place that is refused is dropped, which takes the lock.
        drop(counts);
        if !has_room {
            Err(Full::All)
        } else if of_key > limits.of_key {
            Err(Full::OfKey)
        } else {
            Ok(place)
        }
    }

    /// Whether no document is open, as far as is known.
    pub(super) fn is_empty(&self) -> bool {
        self.0.counts().all.open() == 0
    }

    /// A count is begun. Open documents of a key are counted only where that can matter: where so many
    /// are open in all that one key could have too many of them, and this instance has accepted many of
    /// them, or knows that many were open.
    pub(super) fn begin(&self) -> Before {
        let Limits { all, of_key } = self.0.limits;
        let counts = self.0.counts();
        let matters = |tally: &Tally| {
            tally.since >= of_key.div_ceil(8) || tally.counted + tally.since >= of_key.div_ceil(2)
        };
        let mut wanted = Vec::new();
        if counts.all.open() > of_key / 2 {
            let of_interest = counts.keys.iter().filter(|(_, tally)| matters(tally));
            wanted.extend(of_interest.map(|(key, tally)| (tally.counted_at, *key)));
        }
        // Those that were counted longest ago, or never.
        wanted.sort_unstable();
        wanted.truncate(KEYS_AT_A_TIME);
        Before {
            all: counts.all.since,
            keys: counts
                .keys
                .iter()
                .map(|(key, tally)| (*key, tally.since))
                .collect(),
            wanted: wanted.into_iter().map(|(_, key)| key).collect(),
            most: all + counts.stuck + 1,
            most_of_key: of_key + 1,
        }
    }

    /// So many are open.
    pub(super) fn counted(&self, before: &Before, counted: &Counted) {
        let limits = self.0.limits;
        let mut counts = self.0.counts();
        // Fewer than were there and came: some have become final.
        if counted.all < counts.all.counted + before.all && counted.all < before.most {
            counts.flowed = Some(Instant::now());
        }
        counts.all.is(counted.all, before.all);
        counts.stuck = counted.stuck;
        let few = counted.all <= limits.of_key / 2;
        counts.keys.retain(|key, tally| {
            let accepted = before.keys.get(key).copied().unwrap_or(0);
            match counted.keys.get(key) {
                Some(open) => tally.is(*open, accepted),
                // No key can have more than all have together: what was is of no interest.
                None if few => {
                    tally.counted = 0;
                    tally.since = tally.since.saturating_sub(accepted);
                }
                None => {}
            }
            tally.open() > 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backlog(all: usize, of_key: usize) -> Backlog {
        Backlog::new(Limits { all, of_key })
    }

    fn key(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    /// So many documents of a key are accepted.
    fn accept(backlog: &Backlog, of: Uuid, documents: usize) {
        for _ in 0..documents {
            backlog.enter(of).unwrap().keep();
        }
    }

    /// The database has so many, of which these are of keys.
    fn count(backlog: &Backlog, all: usize, stuck: usize, keys: &[(Uuid, usize)]) {
        let before = backlog.begin();
        let keys = keys
            .iter()
            .copied()
            .filter(|(key, _)| before.wanted.contains(key))
            .collect();
        let counted = Counted { all, stuck, keys };
        backlog.counted(&before, &counted);
    }

    #[test]
    fn what_is_asked_for_and_what_is_accepted_take_a_place() {
        let backlog = backlog(2, 100);
        let enter = || backlog.enter(key(1));
        let (one, two) = (enter().unwrap(), enter().unwrap());
        assert_eq!(enter().unwrap_err(), Full::All);
        drop(one);
        two.keep();
        let three = enter().unwrap();
        assert_eq!(enter().unwrap_err(), Full::All);
        drop(three);
        assert_eq!(backlog.0.counts().all.open(), 1);
    }

    #[test]
    fn a_key_that_has_its_documents_open_is_refused_and_others_are_not() {
        let backlog = backlog(1000, 10);
        accept(&backlog, key(1), 10);
        assert_eq!(backlog.enter(key(1)).unwrap_err(), Full::OfKey);
        accept(&backlog, key(2), 1);
        count(&backlog, 11, 0, &[(key(1), 10)]);
        assert_eq!(backlog.enter(key(1)).unwrap_err(), Full::OfKey);
        accept(&backlog, key(2), 1);
        // Its documents become final.
        count(&backlog, 9, 0, &[(key(1), 8)]);
        accept(&backlog, key(1), 2);
        assert_eq!(backlog.enter(key(1)).unwrap_err(), Full::OfKey);
    }

    #[test]
    fn no_key_is_counted_while_few_documents_are_open() {
        let backlog = backlog(1000, 100);
        accept(&backlog, key(1), 45);
        assert!(backlog.begin().wanted.is_empty());
        count(&backlog, 3, 0, &[]);
        assert!(backlog.0.counts().keys.is_empty(), "nothing is kept of it");
        accept(&backlog, key(1), 60);
        assert_eq!(backlog.begin().wanted, [key(1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn documents_that_are_stuck_do_not_count_against_others_while_these_become_final() {
        let backlog = backlog(1000, 1000);
        count(&backlog, 1000, 1000, &[]);
        // Nobody knows yet whether anything becomes final: some are let through.
        accept(&backlog, key(1), 10);
        assert_eq!(backlog.enter(key(1)).unwrap_err(), Full::All);
        count(&backlog, 1000, 1000, &[]);
        accept(&backlog, key(1), 500);
        // From now on none does.
        tokio::time::advance(FLOWS_FOR).await;
        count(&backlog, 1500, 1000, &[]);
        assert_eq!(backlog.enter(key(1)).unwrap_err(), Full::All);
    }

    #[test]
    fn while_nothing_becomes_final_the_limit_holds_for_old_and_young_together() {
        let backlog = backlog(1000, 1000);
        count(&backlog, 900, 0, &[]);
        accept(&backlog, key(1), 100);
        assert_eq!(backlog.enter(key(2)).unwrap_err(), Full::All);
        count(&backlog, 1000, 990, &[]);
        assert_eq!(backlog.enter(key(2)).unwrap_err(), Full::All);
    }
}
