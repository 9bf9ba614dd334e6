//! What processes cost, from the operating system's own accounting (`/proc`). Where there is none,
//! as on macOS, all figures are nothing.

use std::{fs, time::Duration};

/// A process, or a part of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// Some processes together.
    Processes(Vec<u32>),
    /// This process, but for one thread.
    OtherThreads(u32),
    /// One thread of this process.
    Thread(u32),
}

/// Under what name its costs are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// `mongod`, `broker`, `orders`, …
    pub name: String,
    /// Whose.
    pub who: Who,
}

/// Processor time since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// In user mode.
    pub user: Duration,
    /// In the kernel.
    pub system: Duration,
}

impl Spent {
    /// Since then.
    pub fn since(self, earlier: Spent) -> Spent {
        Spent {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }

    fn and(self, other: Spent) -> Spent {
        Spent {
            user: self.user + other.user,
            system: self.system + other.system,
        }
    }
}

impl Account {
    /// Processor time so far.
    pub fn spent(&self) -> Spent {
        match &self.who {
            Who::Processes(pids) => pids
                .iter()
                .map(|pid| spent(&format!("/proc/{pid}/stat")))
                .fold(Spent::default(), Spent::and),
            Who::Thread(thread) => spent(&format!("/proc/self/task/{thread}/stat")),
            Who::OtherThreads(thread) => {
                let all = spent("/proc/self/stat");
                all.since(spent(&format!("/proc/self/task/{thread}/stat")))
            }
        }
    }

    /// Resident memory in bytes; of several processes, the largest.
    pub fn resident(&self) -> u64 {
        self.largest("VmRSS:")
    }

    /// The most resident memory ever, in bytes; of several processes, the largest.
    pub fn peak_resident(&self) -> u64 {
        self.largest("VmHWM:")
    }

    /// Open file handles; of several processes, the most.
    pub fn handles(&self) -> u64 {
        let count = |folder: String| fs::read_dir(folder).map_or(0, |entries| entries.count() as u64);
        let all = self.folders().into_iter();
        all.map(|folder| count(format!("{folder}/fd"))).max().unwrap_or(0)
    }

    /// Memory and handles belong to a process, so a thread has none of its own.
    pub fn is_process(&self) -> bool {
        !matches!(self.who, Who::Thread(_))
    }

    fn folders(&self) -> Vec<String> {
        match &self.who {
            Who::Processes(pids) => pids.iter().map(|pid| format!("/proc/{pid}")).collect(),
            Who::OtherThreads(_) => vec!["/proc/self".to_owned()],
            Who::Thread(_) => Vec::new(),
        }
    }

    fn largest(&self, line: &str) -> u64 {
        let read = |folder: String| {
            let status = fs::read_to_string(format!("{folder}/status")).ok()?;
            let line = status.lines().find_map(|found| found.strip_prefix(line))?;
            let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
            Some(kibibytes * 1024)
        };
        self.folders().into_iter().filter_map(read).max().unwrap_or(0)
    }
}

/// A process that is gone has spent nothing; that it is gone is told elsewhere.
fn spent(path: &str) -> Spent {
    let stat = fs::read_to_string(path).unwrap_or_default();
    parse(&stat).unwrap_or_default()
}

fn parse(stat: &str) -> Option<Spent> {
    // The name of the program, in brackets, may have spaces and brackets in it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let ticks = |text: &str| {
        let ticks: u64 = text.parse().ok()?;
        Some(Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second()).ok()?)
    };
    Some(Spent {
        user: ticks(fields.nth(11)?)?,
        system: ticks(fields.next()?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_proc_is_read_whatever_the_program_is_called() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 9 0 100 1 1";
        let spent = parse(stat).expect("a good line");
        assert_eq!(spent.user, 5 * spent.system);
        assert_eq!(parse(""), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn work_of_this_process_is_seen() {
        let account = Account {
            name: "test".into(),
            who: Who::Processes(vec![std::process::id()]),
        };
        let (before, begin) = (account.spent(), std::time::Instant::now());
        while begin.elapsed() < Duration::from_millis(100) {
            std::hint::black_box(fastrand::u64(..));
        }
        let spent = account.spent().since(before);
        assert!(
            spent.user + spent.system >= Duration::from_millis(20),
            "{spent:?}"
        );
        assert!(account.resident() > 0 && account.peak_resident() >= account.resident());
        assert!(account.handles() > 2);
    }
}
