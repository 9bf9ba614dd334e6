//! What can go wrong, how often in this seed, and how often it did.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{chance::Chance, lock};

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The process dies at a call of a port, which has no effect.
    CrashBeforeEffect,
    /// The process dies at a call of a port, which has its effect.
    CrashAfterEffect,
    /// What a process had sent before it died is carried out all the same.
    EffectAfterDeath,
    /// A call takes long on its way.
    SlowCall,
    /// An answer takes long on its way.
    SlowAnswer,
    /// The database says that it is away.
    StoreUnavailable,
    /// The outcome of a commit is unknown; it was not written.
    UnknownNotWritten,
    /// The outcome of a commit is unknown; it was written.
    UnknownWritten,
    /// The outcome of a commit is unknown; it is written later.
    UnknownWrittenLater,
    /// The outcome of a commit that is not atomic is unknown; a part of it was written.
    UnknownPartWritten,
    /// A commit meets a conflict of the database's own making.
    WriteConflict,
    /// A mark is answered and not set.
    LostMark,
    /// The database is away for a while.
    StoreOutage,
    /// A record is not written, and neither is what stands behind it in its producer.
    PublishFailed,
    /// A record is not written, and what stands behind it in its producer is.
    PublishOvertaken,
    /// A record is written, and its publisher is told that it was not.
    PublishAnswerLost,
    /// The log is away for a while.
    LogOutage,
    /// A partition moves, or is assigned anew to the same member.
    Rebalance,
    /// What a member has stored is not committed.
    OffsetsLost,
    /// A consumer cannot go on.
    ConsumerFailed,
    /// A process stands still for less than its session.
    Freeze,
    /// A process stands still for longer than its session, and then goes on.
    Zombie,
    /// A process is told to stop, and started again.
    GracefulRestart,
    /// The clock of a process jumps.
    ClockJump,
    /// A client hangs up before it has its answer.
    ClientHangsUp,
    /// The topic gets another partition: keys move.
    PartitionAdded,
    /// A partition has no leader for a while, perhaps until long after everything else is healed.
    NoLeader,
    /// The log refuses some records for a while.
    RecordsRefused,
    /// A partition loses records that it had confirmed; in seeds of [`Kind::LostTail`] only.
    TailLost,
    /// Somebody sets a field of a document to a value of another type, and mends it later.
    DocumentSpoiled,
    /// Somebody adds a field to a document.
    FieldAdded,
    /// Somebody saves a document with a tool that writes numbers in other types.
    NumbersRewritten,
    /// An operator asks for two things at once, by way of two instances.
    OperatorsRace,
}

/// What sort of seed it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Everything may go wrong, but nothing that the log has confirmed is lost.
    Usual,
    /// Nothing goes wrong: two instances of each service see each other's fresh documents.
    Calm,
    /// As usual, and the log loses its tail.
    LostTail,
}

impl Kind {
    /// Of this seed: one in twenty each is calm and loses tails.
    pub fn of(seed: u64) -> Kind {
        match seed % 20 {
            13 => Kind::Calm,
            17 => Kind::LostTail,
            _ => Kind::Usual,
        }
    }
}

/// Every kind with its usual rate: for each call, each answer, or each second for those that strike
/// by themselves.
const USUAL: &[(Fault, f64)] = &[
    (Fault::CrashBeforeEffect, 0.004),
    (Fault::CrashAfterEffect, 0.006),
    (Fault::EffectAfterDeath, 0.5),
    (Fault::SlowCall, 0.05),
    (Fault::SlowAnswer, 0.05),
    (Fault::StoreUnavailable, 0.03),
    (Fault::UnknownNotWritten, 0.02),
    (Fault::UnknownWritten, 0.03),
    (Fault::UnknownWrittenLater, 0.02),
    (Fault::UnknownPartWritten, 0.02),
    (Fault::WriteConflict, 0.03),
    (Fault::LostMark, 0.1),
    (Fault::StoreOutage, 0.02),
    (Fault::PublishFailed, 0.03),
    (Fault::PublishOvertaken, 0.005),
    (Fault::PublishAnswerLost, 0.03),
    (Fault::LogOutage, 0.02),
    (Fault::Rebalance, 0.15),
    (Fault::OffsetsLost, 0.2),
    (Fault::ConsumerFailed, 0.03),
    (Fault::Freeze, 0.05),
    (Fault::Zombie, 0.05),
    (Fault::GracefulRestart, 0.03),
    (Fault::ClockJump, 0.05),
    (Fault::ClientHangsUp, 0.05),
    (Fault::PartitionAdded, 0.02),
    (Fault::NoLeader, 0.03),
    (Fault::RecordsRefused, 0.04),
    (Fault::TailLost, 0.15),
    (Fault::DocumentSpoiled, 0.1),
    (Fault::FieldAdded, 0.2),
    (Fault::NumbersRewritten, 0.2),
    (Fault::OperatorsRace, 0.2),
];

static LEFT_OUT: OnceLock<BTreeSet<Fault>> = OnceLock::new();

/// Leaves these out of all seeds of this process: so it is found out which faults a violation takes.
/// The names that are none.
pub fn leave_out(names: &[String]) -> Vec<String> {
    let named = |name: &String| {
        let mut faults = USUAL.iter().map(|(fault, _)| *fault);
        faults
            .find(|fault| format!("{fault:?}") == *name)
            .ok_or(name.clone())
    };
    let (known, unknown): (Vec<_>, Vec<_>) = names.iter().map(named).partition(Result::is_ok);
    // Once for a process: nothing is left out twice.
    let _ = LEFT_OUT.set(known.into_iter().flatten().collect());
    unknown.into_iter().filter_map(Result::err).collect()
}

/// The faults of one seed.
#[derive(Debug)]
pub struct Faults {
    active: AtomicBool,
    rates: BTreeMap<Fault, f64>,
    chance: Chance,
    counts: Mutex<BTreeMap<Fault, u64>>,
}

impl Faults {
    /// Each seed has some kinds of faults and lacks others: what always happens together hides what
    /// each does alone.
    pub fn new(kind: Kind, chance: Chance) -> Faults {
        let mut rates = BTreeMap::new();
        for (fault, usual) in USUAL {
            let factor = match (kind, fault) {
                (Kind::Calm, _) | (Kind::Usual, Fault::TailLost) => 0.0,
                (Kind::LostTail, Fault::TailLost) => 1.0,
                _ => *chance.pick(&[0.0, 0.3, 1.0, 1.0, 3.0]),
            };
            let left_out = LEFT_OUT.get().is_some_and(|left_out| left_out.contains(fault));
            let rate = if left_out { 0.0 } else { (usual * factor).min(0.5) };
            rates.insert(*fault, rate);
        }
        Faults {
            active: AtomicBool::new(true),
            rates,
            chance,
            counts: Mutex::default(),
        }
    }

    /// Whether this happens now. It is counted as having happened.
    pub fn strikes(&self, fault: Fault) -> bool {
        if !self.is_active() {
            return false;
        }
        let rate = self.rates.get(&fault).copied().unwrap_or(0.0);
        let strikes = rate > 0.0 && self.chance.strikes(rate);
        if strikes {
            *lock(&self.counts).entry(fault).or_default() += 1;
        }
        strikes
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        self.active.store(false, Ordering::Relaxed);
    }

    /// Whether things still go wrong.
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    /// How often each kind has happened.
    pub fn counts(&self) -> BTreeMap<Fault, u64> {
        lock(&self.counts).clone()
    }

    /// Chance for how bad a fault is.
    pub fn chance(&self) -> &Chance {
        &self.chance
    }
}
