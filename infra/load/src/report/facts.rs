//! What runs have in common is told once; what differs is told with each.

use super::{group, number};
use crate::run::Run;

/// Name and value, in the order in which they are told.
pub type Pairs = Vec<(String, String)>;

/// A kind of facts: its name, and what a run tells of it.
pub type Kind = (&'static str, fn(&Run) -> Pairs);

/// All kinds, in the order in which they are told.
pub const KINDS: [Kind; 3] = [
    ("settings", settings),
    ("versions", versions),
    ("machine", machine),
];

/// The facts of one kind about several runs.
pub struct Facts {
    /// The same in all of them.
    pub same: Pairs,
    /// Names of those that are not, or that not every run has.
    pub differing: Vec<String>,
}

impl Facts {
    /// Divides the facts that `of` tells of each run.
    pub fn of(runs: &[Run], of: impl Fn(&Run) -> Pairs) -> Self {
        let told: Vec<Pairs> = runs.iter().map(of).collect();
        let mut facts = Self {
            same: Vec::new(),
            differing: Vec::new(),
        };
        for (name, value) in told.iter().flatten() {
            if facts.differing.contains(name) || facts.same.iter().any(|(known, _)| known == name) {
                continue;
            }
            if told.iter().all(|pairs| find(pairs, name) == Some(value)) {
                facts.same.push((name.clone(), value.clone()));
            } else {
                facts.differing.push(name.clone());
            }
        }
        facts
    }
}

/// The values of a fact that differs, each with those who have it: a group where all of its runs do.
pub fn by_value(runs: &[Run], name: &str, of: fn(&Run) -> Pairs) -> Vec<(String, String)> {
    let value = |run: &Run| {
        find(&of(run), name)
            .cloned()
            .unwrap_or_else(|| number::NONE.to_owned())
    };
    let mut values: Vec<(String, Vec<&str>)> = Vec::new();
    let mut note = |value: String, who| match values.iter_mut().find(|(known, _)| *known == value) {
        Some((_, all)) => all.push(who),
        None => values.push((value, vec![who])),
    };
    for group in group::groups(runs) {
        let first = value(group.runs[0]);
        if group.runs.iter().all(|run| value(run) == first) {
            note(first, group.name_or_run());
        } else {
            group
                .runs
                .iter()
                .for_each(|run| note(value(run), run.name.as_str()));
        }
    }
    values
        .into_iter()
        .map(|(value, who)| (value, who.join(", ")))
        .collect()
}

/// The value of a name.
pub fn find<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a String> {
    pairs
        .iter()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value)
}

/// What it ran with.
pub fn settings(run: &Run) -> Pairs {
    run.settings.clone()
}

/// What ran.
pub fn versions(run: &Run) -> Pairs {
    run.versions.clone()
}

/// On what it ran.
pub fn machine(run: &Run) -> Pairs {
    let machine = &run.machine;
    [
        ("processor", machine.processor.clone()),
        ("cores", machine.cores.to_string()),
        ("memory", number::bytes(machine.memory_bytes as f64)),
        ("system", machine.system.clone()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// Whether a setting says what is on disk, and where, before something is acknowledged.
pub fn is_durability((name, value): &(String, String)) -> bool {
    let told = format!("{name} {value}").to_lowercase();
    [
        "durab",
        "acks",
        "idempot",
        "journal",
        "majority",
        "fsync",
        "write concern",
        "replica",
    ]
    .iter()
    .any(|word| told.contains(word))
}

/// `name value`, one after the other.
pub fn line(pairs: &[(String, String)]) -> String {
    pairs
        .iter()
        .map(|(name, value)| format!("{name} {value}"))
        .collect::<Vec<_>>()
        .join(" · ")
}

/// Of runs in a closed loop, what is to be kept in mind; nothing if there are none.
pub fn closed_loop(runs: &[Run]) -> Option<String> {
    let closed = |run: &&Run| find(&run.settings, "loop").is_some_and(|kind| kind.starts_with("closed"));
    let names: Vec<&str> = runs.iter().filter(closed).map(|run| run.name.as_str()).collect();
    let which = match names.len() {
        0 => return None,
        all if all == runs.len() => String::new(),
        _ => format!(" ({})", names.join(", ")),
    };
    Some(format!(
        "A closed loop{which} finds the ceiling: its callers wait with the system, so its latencies are not what \
         users would see."
    ))
}

/// All faults with the run that has them.
pub fn faults(runs: &[Run]) -> Vec<(&str, &str)> {
    runs.iter()
        .flat_map(|run| run.faults.iter().map(|fault| (run.name.as_str(), fault.as_str())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};

    #[test]
    fn what_differs_is_set_apart() {
        let facts = Facts::of(&sample::pairs(2), settings);
        assert_eq!(facts.differing, ["profile"]);
        assert!(find(&facts.same, "loop").is_some());
        assert!(find(&facts.same, "profile").is_none());
    }

    #[test]
    fn a_value_is_told_with_those_who_have_it() {
        let mut runs = sample::pairs(2);
        let told = |runs: &[Run]| by_value(runs, "profile", settings);
        let pair = |value: &str, who: &str| (value.to_owned(), who.to_owned());
        assert_eq!(told(&runs), [pair("fast", "fast"), pair("naive", "naive")]);
        runs[2].settings.retain(|(name, _)| name != "profile");
        assert_eq!(
            told(&runs),
            [
                pair("fast", "fast-1"),
                pair(number::NONE, "fast-2"),
                pair("naive", "naive")
            ]
        );
    }

    #[test]
    fn closed_loops_are_named_among_open_ones() {
        let mut runs = sample::pairs(1);
        assert!(
            closed_loop(&runs)
                .unwrap()
                .starts_with("A closed loop finds the ceiling")
        );
        runs.push(sample::soak());
        assert!(
            closed_loop(&runs)
                .unwrap()
                .starts_with("A closed loop (fast-1, naive-1) finds")
        );
        assert_eq!(closed_loop(&[sample::soak()]), None);
    }

    #[test]
    fn durability_is_recognised_by_name_or_value() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert!(is_durability(&pair("write concern", "w:1")));
        assert!(is_durability(&pair("MongoDB", "w:majority, j:true")));
        assert!(is_durability(&pair("Kafka", "acks=all, idempotent")));
        assert!(!is_durability(&pair("callers", "64")));
    }
}
