//! What can go wrong, how often in this seed, and how often it did.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
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
];

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
    pub fn new(chance: Chance) -> Faults {
        let mut rates = BTreeMap::new();
        for (fault, usual) in USUAL {
            let factor = *chance.pick(&[0.0, 0.3, 1.0, 1.0, 3.0]);
            rates.insert(*fault, (usual * factor).min(0.5));
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
