//! How the RepositoryActor writes: as it does, or, as a yardstick, as first versions do.

use std::time::Duration;

/// What is measured against what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WriteProfile {
    /// Group commit, events handed over from memory, marks in batches.
    #[default]
    Grouped,
    /// A transaction for each command, what it needs read first, one event at a time, events found by
    /// polling the outboxes. Loses nothing either; it is there to be measured against.
    Naive,
}

impl WriteProfile {
    /// Rounds at a time. While one waits for the disk the next is already decided; more of the
    /// grouped ones gain nothing.
    pub(super) const fn rounds_in_flight(self) -> usize {
        match self {
            WriteProfile::Grouped => 2,
            WriteProfile::Naive => 64,
        }
    }

    /// A further round is begun beside others only for so many commands. Fewer wait for the round in
    /// flight and share the next: what a round costs beside its commands is most of a small one, and on
    /// a busy machine everything waits for that.
    pub(super) const fn further_round_from(self) -> usize {
        match self {
            WriteProfile::Grouped => 64,
            WriteProfile::Naive => 1,
        }
    }

    /// Commands in a round: past a few hundred the database does not get faster by larger ones.
    pub(super) const fn commands_in_a_round(self) -> usize {
        match self {
            WriteProfile::Grouped => 256,
            WriteProfile::Naive => 1,
        }
    }

    /// Bytes of the commands in a round, as they estimate it: parked records are of several megabytes,
    /// and a command of MongoDB ends at 16 MB.
    pub(super) const fn bytes_in_a_round(self) -> usize {
        8 * 1024 * 1024
    }

    /// Whether even one document is written in a transaction.
    pub(super) const fn always_atomic(self) -> bool {
        matches!(self, WriteProfile::Naive)
    }

    /// Whether a round may take documents that it is going to create for not there.
    pub(super) const fn assumes_new(self) -> bool {
        matches!(self, WriteProfile::Grouped)
    }

    /// Whether events are handed over as soon as they are durable, or are left to the sweep.
    pub(super) const fn hands_over(self) -> bool {
        matches!(self, WriteProfile::Grouped)
    }

    /// Whether events are handled one after the other, whatever they are about.
    pub(super) const fn one_event_at_a_time(self) -> bool {
        matches!(self, WriteProfile::Naive)
    }

    /// For so long marks gather. They are in nobody's way; a document that is written anew meanwhile
    /// needs none. A crash publishes again what was not marked, so not for long.
    pub(super) const fn mark_after(self) -> Duration {
        match self {
            WriteProfile::Grouped => Duration::from_millis(200),
            WriteProfile::Naive => Duration::ZERO,
        }
    }

    /// How often outboxes are looked for.
    pub(super) const fn sweep_every(self) -> Duration {
        match self {
            WriteProfile::Grouped => Duration::from_secs(2),
            WriteProfile::Naive => Duration::from_millis(100),
        }
    }

    /// So long after it has found old events of others the sweep looks again whether they are still
    /// there: where instances take turns on a document, an event is old when its turn comes.
    pub(super) const fn sweep_again_after(self) -> Duration {
        match self {
            WriteProfile::Grouped => Duration::from_secs(1),
            WriteProfile::Naive => Duration::ZERO,
        }
    }

    /// Younger events are left to the process that announced them, which is most likely publishing
    /// them.
    pub(super) const fn sweep_age(self) -> Duration {
        match self {
            WriteProfile::Grouped => Duration::from_secs(5),
            WriteProfile::Naive => Duration::ZERO,
        }
    }
}
