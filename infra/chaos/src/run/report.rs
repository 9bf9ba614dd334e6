//! What came out of a run, for people and for programs.

use std::{collections::BTreeMap, fmt, fs, path::Path, sync::atomic::Ordering};

use invariants::Checker;
use serde::Serialize;

use super::{
    RunSettings,
    faults::Struck,
    leaderless::Window,
    watch,
    world::{World, lock},
};
use crate::audit::{
    Audit, Summary,
    differences::{Differences, Invariant},
};

/// The result of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Runs the same schedule again.
    pub seed: u64,
    /// Load and faults, in seconds.
    pub seconds: u64,
    /// Brokers and members.
    pub nodes: (u16, u16),
    /// Whether everything held.
    pub good: bool,
    /// By kind and kind of target: how often it was struck.
    pub faults: BTreeMap<String, u64>,
    /// What was read from the databases and the topic.
    pub summary: Summary,
    /// What the clients met.
    pub clients: BTreeMap<&'static str, u64>,
    /// Seconds from the end of a fault until an order went all the way, and the fault; of those that
    /// no other fault fell into.
    pub longest_recovery: Option<(f64, Struck)>,
    /// Seconds in which no order went all the way, faults included, and when that began.
    pub longest_outage: Option<(f64, f64)>,
    /// After the last fault: seconds until nothing was open, waiting or unread.
    pub settled_after: Option<f64>,
    /// Each time in which a partition had no leader.
    pub leaderless: Vec<Window>,
    /// What should not have happened and is no invariant's.
    pub unexpected: Vec<String>,
    /// What does not fit together, and what was checked.
    pub differences: Differences,
}

impl Report {
    pub(super) fn new(
        settings: &RunSettings,
        world: &World,
        (struck, probes): (Vec<Struck>, &[watch::Probes]),
        settled_after: Option<f64>,
        (audit, leaderless): (Audit, Vec<Window>),
    ) -> Report {
        // The last is of the partition that loses its leader, where one does; the first is not.
        let of = |number: usize| lock(&probes[number]).clone();
        let (first, last) = (&of(0), &of(probes.len() - 1));
        let longest_recovery = watch::longest_recovery(&struck, last);
        let mut faults = BTreeMap::new();
        for Struck { kind, target, .. } in &struck {
            let target = target.trim_end_matches(|c: char| c == '-' || c.is_ascii_digit());
            *faults.entry(format!("{kind} {target}")).or_default() += 1;
        }
        let counts = &world.counts;
        let clients = [
            ("acknowledged", &counts.acknowledged),
            ("repeated", &counts.repeated),
            ("broken connections", &counts.broken),
            ("timeouts", &counts.timeouts),
            ("answered 503", &counts.unavailable),
            ("records copied", &counts.copies),
            ("odd records put in", &counts.odd),
            ("odd records in unknown places", &counts.odd_without_place),
        ];
        let unexpected = lock(&world.unexpected).clone();
        let Audit { differences, summary } = audit;
        let never = longest_recovery
            .as_ref()
            .is_some_and(|(seconds, _)| seconds.is_infinite());
        Report {
            seed: settings.seed,
            seconds: settings.length.as_secs(),
            nodes: (settings.brokers, settings.members),
            good: differences.total() == 0 && unexpected.is_empty() && !never,
            faults,
            summary,
            clients: clients
                .into_iter()
                .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
                .collect(),
            longest_recovery,
            longest_outage: watch::longest_outage(first),
            leaderless,
            settled_after,
            unexpected,
            differences,
        }
    }

    /// Whether everything held.
    pub fn is_good(&self) -> bool {
        self.good
    }

    /// Writes `report.txt` and `report.json`.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        fs::write(folder.join("report.txt"), self.to_string())?;
        fs::write(folder.join("report.json"), serde_json::to_vec_pretty(self)?)?;
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary {
            orders,
            outcomes,
            records,
            duplicates,
            poison,
            dead_letters,
            parked,
            ..
        } = &self.summary;
        let (brokers, members) = self.nodes;
        writeln!(
            f,
            "seed       {}, {} s, {brokers} brokers, {members} members",
            self.seed, self.seconds
        )?;
        writeln!(
            f,
            "faults     {}, {}",
            self.faults.values().sum::<u64>(),
            listed(&self.faults)
        )?;
        writeln!(f, "sagas      {orders}: {}", listed(outcomes))?;
        writeln!(f, "clients    {}", listed(&self.clients))?;
        writeln!(
            f,
            "log        {records} records, {duplicates} duplicates absorbed, {poison} poison, {dead_letters} dead letters, {parked} parked"
        )?;
        match &self.longest_recovery {
            Some((seconds, fault)) => writeln!(
                f,
                "recovery   {seconds:.1} s at most, after {} of {} that ended at {:.1} s",
                fault.kind, fault.target, fault.until
            )?,
            None => writeln!(f, "recovery   no fault stood alone")?,
        }
        if let Some((seconds, from)) = self.longest_outage {
            writeln!(
                f,
                "outage     {seconds:.1} s at most, from {from:.1} s on, with all faults in it"
            )?;
        }
        for window in &self.leaderless {
            writeln!(
                f,
                "no leader  {:.1} s from {:.1} s on; of the other partitions {} of {} orders were final meanwhile, after {:.1} s at most, \
                 with {:.1} s without one at most; {} of the sick one were final {:.1} s after it was back",
                window.until - window.from,
                window.from,
                window.others_final,
                window.others,
                window.others_longest_wait,
                window.others_longest_gap,
                window.sick,
                window.sick_final_after
            )?;
        }
        match self.settled_after {
            Some(seconds) => writeln!(f, "settled    {seconds:.1} s after the last fault")?,
            None => writeln!(f, "settled    never")?,
        }
        write!(f, "{}", self.differences.summary())?;
        for invariant in Invariant::of(Checker::Chaos).filter(|one| self.differences.checked(*one) == 0) {
            writeln!(f, "{invariant} was not checked: {}", invariant.promise())?;
        }
        self.differences
            .iter()
            .try_for_each(|difference| writeln!(f, "! {difference}"))?;
        self.unexpected
            .iter()
            .try_for_each(|what| writeln!(f, "! unexpected: {what}"))?;
        writeln!(f, "{}", if self.good { "all holds" } else { "NOT all holds" })
    }
}

fn listed<K: fmt::Display>(counts: &BTreeMap<K, u64>) -> String {
    let parts: Vec<_> = counts
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    parts.join(", ")
}
