//! Each fault that is built into the product on purpose is found, by the invariant that it breaks
//! and within so many seeds. `cargo test -p simulation --test mutants -- --nocapture` tells where.

#![allow(clippy::unwrap_used, reason = "a test says no by panicking")]

use std::collections::BTreeSet;

use shared::mutants::{self, Mutant};
use simulation::{
    invariants::Invariant::{self, *},
    run::run,
};

/// Plays seeds until the invariant is broken; others may be before.
fn is_caught(mutant: Mutant, by: Invariant, within: u64) {
    let mut others = BTreeSet::<Invariant>::new();
    for seed in 0..within {
        let outcome = mutants::with(mutant, || run(seed, false));
        let broken: BTreeSet<_> = outcome
            .violations
            .iter()
            .map(|violation| violation.invariant)
            .collect();
        others.extend(&broken);
        if broken.contains(&by) {
            others.remove(&by);
            println!("{mutant:?}: {by:?} at seed {seed} (also broken: {others:?})");
            return;
        }
    }
    panic!("{mutant:?} is not caught by {by:?} within {within} seeds, only by {others:?}");
}

macro_rules! mutants {
    ($($name:ident: $mutant:ident, $invariant:ident, $within:literal;)*) => {
        $(
            #[test]
            fn $name() {
                is_caught(Mutant::$mutant, $invariant, $within);
            }
        )*
    };
}

mutants! {
    an_offset_stored_early_loses_a_release: StoreOffsetEarly, I3, 100;
    a_reservation_made_twice_breaks_the_sum: SkipKnownReservation, I2, 100;
    a_mark_before_the_confirmation_loses_an_event: MarkBeforeConfirmed, I7, 100;
    an_event_before_its_commit_has_no_cause: PublishBeforeCommit, I10, 100;
    a_write_without_the_version_guard_breaks_the_sum: DropVersionGuard, I2, 100;
    records_without_a_key_lose_their_order: UnkeyedRecords, I8, 100;
    a_forgotten_release_holds_credit_of_a_cancelled_order: ForgetRelease, I3, 100;
    a_lost_permit_is_missed: LosePermit, I13, 100;
    an_answer_before_the_commit_acknowledges_nothing: AnswerBeforeCommit, I4, 100;
    an_answer_before_the_commit_is_read_back_and_not_there: AnswerBeforeCommit, I12, 100;
    a_validated_final_order_changes: ValidateFinalOrder, I6, 100;
    poison_dropped_in_silence_is_missed: DropPoison, I9, 100;
    a_record_that_overtakes_parked_ones_is_seen: OvertakeParked, I8, 100;
    a_skipped_event_is_missed: SkipOutboxEvent, I7, 100;
    an_event_with_a_new_time_is_not_the_same: RestampEvent, I7, 100;
    an_order_created_again_is_not_final_any_more: CreateAgain, I6, 100;
    what_a_crash_has_left_is_missed: NeverSweep, I9, 100;
    an_order_that_is_not_validated_stays_open: IgnoreValidation, I5, 100;
    a_refusal_without_grounds_is_not_what_the_rules_say: RefuseEverybody, I11, 100;
    a_reservation_beyond_the_credit_is_seen: IgnoreCredit, I1, 100;
    a_cancelled_order_without_a_reason_is_seen: DropReason, I6, 100;
}
