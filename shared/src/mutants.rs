//! Faults built into the product on purpose, to prove that the simulation would find them. Compiled
//! in with the feature `mutants` only and chosen at run time for one thread; a product build carries
//! nothing of it.

/// A fault to build in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    /// The offset is stored when a record is taken, not when it is done.
    StoreOffsetEarly,
    /// A reservation that is known is made again.
    SkipKnownReservation,
    /// Outboxes are marked before the log has confirmed their events.
    MarkBeforeConfirmed,
    /// Events are handed over before the commit that announces them.
    PublishBeforeCommit,
    /// A document is replaced whatever its version.
    DropVersionGuard,
    /// Records are written without a key.
    UnkeyedRecords,
    /// A cancelled order's credit stays reserved.
    ForgetRelease,
    /// The permit of a command is never given back.
    LosePermit,
    /// A command is answered before its commit.
    AnswerBeforeCommit,
    /// A validation is applied to an order that is final.
    ValidateFinalOrder,
    /// A validation changes nothing.
    IgnoreValidation,
    /// A record that fails for good is dropped without a dead letter.
    DropPoison,
    /// Records of a parked key are handled as they come.
    OvertakeParked,
    /// The last event of an outbox is not published.
    SkipOutboxEvent,
    /// An event that is announced again has another time.
    RestampEvent,
    /// An order that is known is created again.
    CreateAgain,
    /// Nobody looks for events that a crash has left.
    NeverSweep,
    /// Whether a customer is known is forgotten.
    RefuseEverybody,
    /// Credit is not looked at.
    IgnoreCredit,
    /// A refused order is cancelled without a reason.
    DropReason,
}

/// Whether this fault is built in on this thread.
#[cfg(not(feature = "mutants"))]
pub const fn is_active(_: Mutant) -> bool {
    false
}

#[cfg(feature = "mutants")]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Whether this fault is built in on this thread.
#[cfg(feature = "mutants")]
pub fn is_active(mutant: Mutant) -> bool {
    ACTIVE.get() == Some(mutant)
}

/// Builds it in on this thread, as long as `run` takes.
#[cfg(feature = "mutants")]
pub fn with<T>(mutant: Mutant, run: impl FnOnce() -> T) -> T {
    ACTIVE.set(Some(mutant));
    let result = run();
    ACTIVE.set(None);
    result
}
