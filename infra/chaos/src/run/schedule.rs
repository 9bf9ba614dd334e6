//! What goes wrong, and when: a function of the seed and the length of the run alone.

use std::{fmt, time::Duration};

use engines::Engine;
use fleet::Service;

use super::cluster::Role;

/// The first fault strikes when the load is under way.
const FIRST: Duration = Duration::from_secs(4);
/// Between the beginnings of two faults, so that they overlap often.
const GAP: std::ops::Range<f64> = 0.8..4.0;
/// After so many faults everything is left alone until all of them are over, and for a while more: so
/// it is seen how long coming back takes.
const BETWEEN_CALMS: usize = 12;
/// How long that while is.
const CALM: Duration = Duration::from_secs(10);
/// A process stays away for so long before it is started again, in seconds.
const AWAY: std::ops::Range<f64> = 0.0..4.0;
/// A frozen process: from nothing worth noticing to more than every timeout, in seconds.
const FROZEN: std::ops::Range<f64> = 0.1..15.0;
/// A third instance stays for so long, in seconds.
const STAY: std::ops::Range<f64> = 3.0..12.0;

/// How long a partition is without a leader, in seconds.
const LEADERLESS: std::ops::Range<f64> = 25.0..60.0;
/// After that it is left alone for so long.
const AFTER_LEADERLESS: Duration = Duration::from_secs(40);

/// Instances of each service that are there from the beginning.
pub const INSTANCES: usize = 2;

/// What there is to be struck, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// There are several brokers.
    pub brokers: bool,
    /// There are several members.
    pub members: bool,
    /// A partition is without a leader now and then, and nothing else goes wrong.
    pub leaderless: bool,
}

/// What is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// An instance of a service; number [`INSTANCES`] is the one that comes and goes.
    Instance(Service, usize),
    /// Kafka or MongoDB, where it is a single process.
    Engine(Engine),
    /// Of several brokers or members, the one that has this role then.
    Node(Role),
}

impl Target {
    /// Where the trouble is: of the nodes of an engine, one at a time is in trouble.
    pub fn place(self) -> Target {
        match self {
            Target::Node(role) => Target::Engine(role.engine()),
            other => other,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Instance(service, number) => write!(f, "{}-{}", service.name(), number + 1),
            Target::Engine(Engine::Kafka) => f.write_str("broker"),
            Target::Engine(Engine::Mongo) => f.write_str("mongod"),
            Target::Node(role) => f.write_str(role.name()),
        }
    }
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL; started again after a while.
    Kill(Duration),
    /// SIGSTOP; SIGCONT after a while.
    Freeze(Duration),
    /// SIGTERM, its exit code looked at; started again after a while.
    Terminate(Duration),
    /// An instance more, which leaves by SIGTERM after a while.
    Join(Duration),
}

impl Fault {
    /// Its kind, for counts.
    pub fn kind(self) -> &'static str {
        match self {
            Fault::Kill(_) => "kill",
            Fault::Freeze(_) => "freeze",
            Fault::Terminate(_) => "terminate",
            Fault::Join(_) => "join",
        }
    }

    fn lasts(self) -> Duration {
        match self {
            Fault::Kill(time) | Fault::Freeze(time) | Fault::Terminate(time) | Fault::Join(time) => time,
        }
    }
}

/// One fault of the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Since the load began.
    pub at: Duration,
    /// What is struck.
    pub target: Target,
    /// How.
    pub fault: Fault,
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, time) = (self.at.as_secs_f64(), self.fault.lasts().as_secs_f64());
        write!(
            f,
            "{at:7.1} s  {} {} for {time:.1} s",
            self.fault.kind(),
            self.target
        )
    }
}

/// All faults of a run, in the order of their beginnings.
pub fn schedule(seed: u64, length: Duration, shape: Shape) -> Vec<Planned> {
    let mut random = fastrand::Rng::with_seed(seed);
    if shape.leaderless {
        return leaderless(&mut random, length);
    }
    let mut planned: Vec<Planned> = Vec::new();
    let mut deck = Vec::new();
    let mut at = FIRST;
    while at < length {
        if deck.is_empty() {
            deck = full_deck(shape);
            random.shuffle(&mut deck);
        }
        // The next of the deck whose target is not in trouble already.
        let free = deck.iter().position(|(target, _)| {
            planned
                .iter()
                .all(|other| other.target.place() != target.place() || is_over(other, at))
        });
        if let Some(free) = free {
            let (target, kind) = deck.remove(free);
            let fault = kind(&mut random);
            planned.push(Planned { at, target, fault });
        }
        at += Duration::from_secs_f64(between(&mut random, GAP));
        if free.is_some() && planned.len().is_multiple_of(BETWEEN_CALMS) {
            let over = planned.iter().map(|one| one.at + one.fault.lasts()).max();
            at = at.max(over.unwrap_or_default()) + CALM;
        }
    }
    planned
}

/// The broker with the only copy of a partition goes, and comes back; again and again.
fn leaderless(random: &mut fastrand::Rng, length: Duration) -> Vec<Planned> {
    let mut planned = Vec::new();
    let mut at = CALM;
    loop {
        let away = seconds(between(random, LEADERLESS));
        planned.push(Planned {
            at,
            target: Target::Node(Role::OnlyCopy),
            fault: Fault::Kill(away),
        });
        at += away + AFTER_LEADERLESS;
        // The last one ends within the run, however it falls.
        if at + seconds(LEADERLESS.end) > length {
            return planned;
        }
    }
}

type Kind = fn(&mut fastrand::Rng) -> Fault;

/// Each kind for each target, once.
fn full_deck(shape: Shape) -> Vec<(Target, Kind)> {
    let kill: Kind = |random| Fault::Kill(seconds(between(random, AWAY)));
    let freeze: Kind = |random| Fault::Freeze(seconds(between_logarithmic(random, FROZEN)));
    let terminate: Kind = |random| Fault::Terminate(seconds(between(random, AWAY)));
    let join: Kind = |random| Fault::Join(seconds(between(random, STAY)));
    let mut deck: Vec<(Target, Kind)> = Vec::new();
    for service in Service::ALL {
        for number in 0..INSTANCES {
            let target = Target::Instance(service, number);
            deck.extend([(target, kill), (target, freeze)]);
        }
        let last = Target::Instance(service, INSTANCES - 1);
        deck.extend([(last, terminate), (Target::Instance(service, INSTANCES), join)]);
    }
    for (engine, several, roles) in [
        (
            Engine::Kafka,
            shape.brokers,
            &[Role::Leader, Role::Controller][..],
        ),
        (Engine::Mongo, shape.members, &[Role::Primary]),
    ] {
        if several {
            let target = Target::Node(roles[0]);
            deck.push((target, freeze));
            deck.extend(roles.iter().map(|role| (Target::Node(*role), kill)));
        } else {
            let target = Target::Engine(engine);
            deck.extend([(target, kill), (target, freeze)]);
        }
    }
    deck
}

/// Whether it will be over, with what it takes to come back.
fn is_over(planned: &Planned, at: Duration) -> bool {
    let back = match planned.target {
        Target::Instance(..) => Duration::from_secs(4),
        Target::Engine(_) => Duration::from_secs(8),
        // What it has missed, it has to read before another may go.
        Target::Node(_) => Duration::from_secs(12),
    };
    planned.at + planned.fault.lasts() + back <= at
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_millis((seconds * 1000.0) as u64)
}

fn between(random: &mut fastrand::Rng, range: std::ops::Range<f64>) -> f64 {
    range.start + random.f64() * (range.end - range.start)
}

fn between_logarithmic(random: &mut fastrand::Rng, range: std::ops::Range<f64>) -> f64 {
    range.start * (range.end / range.start).powf(random.f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_MINUTES: Duration = Duration::from_secs(120);
    const FIVE_MINUTES: Duration = Duration::from_secs(300);
    const ALONE: Shape = Shape {
        brokers: false,
        members: false,
        leaderless: false,
    };
    const THREE: Shape = Shape {
        brokers: true,
        members: true,
        leaderless: false,
    };

    #[test]
    fn the_schedule_follows_from_the_seed_alone() {
        for shape in [ALONE, THREE] {
            assert_eq!(schedule(7, TWO_MINUTES, shape), schedule(7, TWO_MINUTES, shape));
            assert_ne!(schedule(7, TWO_MINUTES, shape), schedule(8, TWO_MINUTES, shape));
        }
    }

    #[test]
    fn two_minutes_see_every_kind_of_fault_at_every_target_and_five_do_with_three_of_each() {
        for (shape, length) in [(ALONE, TWO_MINUTES), (THREE, FIVE_MINUTES)] {
            for seed in 0..100 {
                let planned = schedule(seed, length, shape);
                for (target, kind) in full_deck(shape) {
                    let kind = kind(&mut fastrand::Rng::with_seed(0)).kind();
                    let seen = planned
                        .iter()
                        .any(|one| one.target == target && one.fault.kind() == kind);
                    assert!(seen, "seed {seed}: no {kind} of {target}");
                }
            }
        }
    }

    #[test]
    fn no_target_is_struck_before_it_is_back_and_no_two_nodes_of_an_engine_together() {
        for shape in [ALONE, THREE] {
            let planned = schedule(3, Duration::from_secs(600), shape);
            for (number, one) in planned.iter().enumerate() {
                for earlier in &planned[..number] {
                    assert!(earlier.target.place() != one.target.place() || is_over(earlier, one.at));
                }
                let frozen = matches!(one.fault, Fault::Freeze(time) if time > Duration::from_secs(15));
                assert!(!frozen, "{one}");
            }
        }
    }

    #[test]
    fn a_partition_without_a_leader_is_alone_with_its_trouble_and_back_before_the_end() {
        let shape = Shape {
            leaderless: true,
            ..THREE
        };
        for seed in 0..100 {
            let planned = schedule(seed, TWO_MINUTES, shape);
            assert!(!planned.is_empty());
            for one in planned {
                assert_eq!(one.target, Target::Node(Role::OnlyCopy));
                assert!(one.at + one.fault.lasts() <= TWO_MINUTES, "{one}");
            }
        }
    }
}
