//! Telling how a run goes: a bar on a terminal, else a line every 5 s.

use std::{io::IsTerminal, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{
    run::Moment,
    workload::{Extent, Pace, Workload},
};

/// Between two lines, in seconds.
const EVERY: u64 = 5;

/// The one who tells.
pub struct Progress {
    bar: Option<ProgressBar>,
    /// How much there is to do: seconds, or orders.
    extent: Option<Extent>,
    seconds: u64,
    offered: u64,
}

impl Progress {
    /// Of this load.
    pub fn new(load: &Workload) -> Progress {
        // How long a ramp is, it finds out.
        let extent = Some(load.extent).filter(|_| !matches!(load.pace, Pace::Ramp { .. }));
        let bar = std::io::stderr().is_terminal().then(|| {
            let (bar, template) = match extent {
                Some(extent) => (
                    ProgressBar::with_draw_target(Some(length(extent)), ProgressDrawTarget::stderr()),
                    "{elapsed:>4} {wide_bar} {msg}",
                ),
                None => (ProgressBar::new_spinner(), "{elapsed:>4} {spinner} {msg}"),
            };
            match ProgressStyle::with_template(template) {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        Progress {
            bar,
            extent,
            seconds: 0,
            offered: 0,
        }
    }

    /// A second has gone by.
    pub fn second(&mut self, moment: &Moment, offering: bool) {
        self.seconds += 1;
        self.offered += moment.offered;
        let told = format!(
            "{} sagas/s, backlog {}, p99 {:.0} ms{}",
            moment.finished,
            moment.backlog,
            moment.p99,
            if offering { "" } else { ", finishing" }
        );
        match &self.bar {
            Some(bar) => {
                let done = match self.extent {
                    Some(Extent::Orders(_)) => self.offered,
                    _ => self.seconds,
                };
                bar.set_position(done.min(self.extent.map_or(u64::MAX, length)));
                bar.set_message(told);
            }
            None if self.seconds.is_multiple_of(EVERY) => {
                eprintln!("load: {:>4} s  {told}", self.seconds);
            }
            None => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn length(extent: Extent) -> u64 {
    match extent {
        Extent::Time(time) => time.max(Duration::from_secs(1)).as_secs(),
        Extent::Orders(count) => count,
    }
}
