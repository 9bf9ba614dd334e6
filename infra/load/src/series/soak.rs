//! Half the ceiling for long: whether memory, handles, backlog or latency creep.

use std::{fmt::Write as _, path::PathBuf, time::Duration};

use anyhow::ensure;

use super::{
    Ground,
    bench::{Bench, Variant},
    ceiling,
    drift::{Drift, last_part},
};
use crate::{
    arrivals::Arrivals,
    report::{self, number},
    run::{Moment, Run},
    workload::{Pace, Workload},
};

/// How long.
#[derive(Debug, Clone, Copy)]
pub struct SoakSettings {
    /// The load.
    pub length: Duration,
    /// Orders a second; without, half of what a short closed loop reaches.
    pub rate: Option<f64>,
}

/// How long the ceiling is looked for.
const LOOKED_FOR: Duration = Duration::from_secs(20);

/// What is judged. Growth over the last two thirds of the run, as a share of the mean there; and so
/// much that it is no matter whatever its share.
struct Bound {
    what: &'static str,
    share: f64,
    too_little: f64,
    told: fn(f64) -> String,
}

/// Of a service's resident memory: an allocator keeps a little more from time to time.
const MEMORY: Bound = Bound {
    what: "memory",
    share: 0.10,
    too_little: 8.0 * 1024.0 * 1024.0,
    told: number::bytes,
};
/// Connections come and go, a few at a time.
const HANDLES: Bound = Bound {
    what: "handles",
    share: 0.05,
    too_little: 5.0,
    told: number::quantity,
};
/// Of a second's 99th percentile: on a shared machine that is noisy, and its line still is not steep.
const LATENCY: Bound = Bound {
    what: "p99",
    share: 0.25,
    too_little: 5.0,
    told: number::millis,
};
/// A backlog that grows says that the rate is above the ceiling.
const BACKLOG: Bound = Bound {
    what: "backlog",
    share: 0.25,
    too_little: 50.0,
    told: number::quantity,
};
/// Their memory grows with what is stored until their caches are full, so that is told and not judged:
/// mongod's with its collections, the broker's with its heap, the generator's with what it checks.
const NOT_JUDGED: [&str; 3] = ["mongod", "broker", "load"];

/// Runs it, writes a report into the ground's folder, and tells what creeps. Blocks.
pub fn soak(settings: &SoakSettings, ground: &Ground) -> anyhow::Result<(Run, Verdict, PathBuf)> {
    let bench = Bench::start("soak", ground)?;
    let run = |name: &str, workload| {
        bench.run(&Variant {
            name,
            environment: &[],
            instances: 1,
            workload,
        })
    };
    let rate = match settings.rate {
        Some(rate) => rate,
        None => run("ceiling", ceiling(LOOKED_FOR))?.sagas_per_second / 2.0,
    };
    ensure!(rate > 0.0, "there is no ceiling to be found");
    let workload = Workload {
        pace: Pace::Open {
            rate,
            arrivals: Arrivals::Poisson,
        },
        ..ceiling(settings.length)
    };
    let run = run("soak", workload)?;
    let verdict = Verdict::of(&run.timeline);
    std::fs::write(ground.folder.join("soak.txt"), verdict.told())?;
    let page = report::write(&ground.folder, std::slice::from_ref(&run))?;
    Ok((run, verdict, page))
}

fn of(name: &str, all: &[(String, u64)]) -> Option<f64> {
    let found = all.iter().find(|(known, _)| known == name)?;
    Some(found.1 as f64)
}

/// Handles of a process. Those of Orders without its callers: the generator opens connections in a
/// burst and they end some time after it, so both have as many more for a while.
fn own_handles(name: &str, all: &[(String, u64)]) -> Option<f64> {
    let callers = match name {
        "orders" => of("load", all)?,
        _ => 0.0,
    };
    Some(of(name, all)? - callers)
}

/// What creeps and what does not.
#[derive(Debug)]
pub struct Verdict(Vec<Line>);

#[derive(Debug)]
struct Line {
    flat: Option<bool>,
    text: String,
}

impl Verdict {
    fn of(timeline: &[Moment]) -> Verdict {
        // The last moment is cut short, and the backlog drains in it.
        let whole = timeline.split_last().map_or(timeline, |(_, whole)| whole);
        let last = last_part(whole);
        let mut lines = Vec::new();
        let mut judge = |name: &str, bound: &Bound, judged: bool, value: &dyn Fn(&Moment) -> Option<f64>| {
            let points: Vec<_> = last
                .iter()
                .filter_map(|moment| Some((moment.at, value(moment)?)))
                .collect();
            let subject = format!("{name} {}", bound.what);
            let subject = subject.trim_start();
            lines.push(match Drift::of(&points) {
                Some(drift) => Line::of(subject, bound, judged, drift),
                None => Line {
                    flat: judged.then_some(false),
                    text: format!("{subject}: too short to tell"),
                },
            });
        };
        let processes = last.first().map(|moment| &moment.resident[..]).unwrap_or(&[]);
        for (name, _) in processes {
            let judged = !NOT_JUDGED.contains(&name.as_str());
            judge(name, &MEMORY, judged, &|moment| of(name, &moment.resident));
            judge(name, &HANDLES, judged, &|moment| {
                own_handles(name, &moment.handles)
            });
        }
        judge("", &LATENCY, true, &|moment| {
            (moment.p99 > 0.0).then_some(moment.p99)
        });
        judge("", &BACKLOG, true, &|moment| Some(moment.backlog as f64));
        Verdict(lines)
    }

    /// Whether nothing that is judged creeps.
    pub fn is_flat(&self) -> bool {
        self.0.iter().all(|line| line.flat != Some(false))
    }

    /// A line for each, for people.
    pub fn told(&self) -> String {
        let mut told = String::new();
        for line in &self.0 {
            let verdict = match line.flat {
                Some(true) => "flat    ",
                Some(false) => "CREEPS  ",
                None => "        ",
            };
            let _ = writeln!(told, "{verdict}{}", line.text);
        }
        told
    }
}

impl Line {
    fn of(subject: &str, bound: &Bound, judged: bool, drift: Drift) -> Line {
        let sign = if drift.growth < 0.0 { "-" } else { "+" };
        let mut text = format!(
            "{subject}: {} on average, {sign}{} over the last two thirds ({:+.1} %",
            (bound.told)(drift.mean),
            (bound.told)(drift.growth.abs()),
            drift.share() * 100.0,
        );
        let _ = match judged {
            true => write!(
                text,
                "; at most {:.0} % or {})",
                bound.share * 100.0,
                (bound.told)(bound.too_little)
            ),
            false => write!(text, "; told, not judged)"),
        };
        Line {
            flat: judged.then(|| drift.is_flat(bound.share, bound.too_little)),
            text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn settled() -> Vec<Moment> {
        let timeline = sample::soak().timeline.into_iter();
        let settled = timeline.map(|moment| Moment {
            backlog: 20 + moment.finished % 7,
            ..moment
        });
        settled.collect()
    }

    #[test]
    fn a_soak_that_settles_is_flat() {
        let verdict = Verdict::of(&settled());
        assert!(verdict.is_flat(), "{}", verdict.told());
    }

    #[test]
    fn a_service_that_leaks_creeps_and_a_growing_cache_of_mongod_does_not() {
        let leaking = |name: &str| {
            let mut timeline = settled();
            for moment in &mut timeline {
                let at = moment.at as u64;
                let leaked = moment.resident.iter_mut().filter(|(known, _)| known == name);
                leaked.for_each(|(_, bytes)| *bytes += at << 16);
            }
            Verdict::of(&timeline)
        };
        let told = leaking("orders").told();
        assert!(!leaking("orders").is_flat(), "{told}");
        assert!(told.contains("CREEPS  orders memory"), "{told}");
        assert!(leaking("mongod").is_flat());
    }

    #[test]
    fn handles_of_orders_that_are_not_of_its_callers_creep() {
        let with = |more_callers: u64, more_of_its_own: u64| {
            let mut timeline = settled();
            for moment in &mut timeline {
                let at = moment.at as u64;
                for (name, handles) in &mut moment.handles {
                    *handles += match name.as_str() {
                        "load" => at * more_callers,
                        "orders" => at * (more_callers + more_of_its_own),
                        _ => 0,
                    };
                }
            }
            Verdict::of(&timeline)
        };
        assert!(with(1, 0).is_flat(), "{}", with(1, 0).told());
        let told = with(1, 1).told();
        assert!(told.contains("CREEPS  orders handles"), "{told}");
    }

    #[test]
    fn latency_that_rises_creeps_and_a_run_of_a_moment_tells_nothing() {
        let mut timeline = settled();
        timeline
            .iter_mut()
            .for_each(|moment| moment.p99 += moment.at / 10.0);
        assert!(!Verdict::of(&timeline).is_flat());
        assert!(!Verdict::of(&timeline[..2]).is_flat());
    }
}
