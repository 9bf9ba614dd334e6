use super::{told::TOLD, *};

const SECOND: Duration = Duration::from_secs(1);

fn planned(number: u128) -> Planned {
    Planned {
        id: Uuid::from_u128(number),
        customer: 0,
        cents: 500,
        rejected: false,
        cancel: false,
        repeat: false,
    }
}

/// A ledger that measures, with one accepted order.
fn with(order: &Planned) -> Ledger {
    let mut ledger = Ledger::default();
    ledger.measure_from(Duration::ZERO);
    ledger.sent(order, Duration::ZERO);
    ledger.answered(order.id, Answered::Accepted, SECOND);
    ledger
}

fn finished(ledger: &mut Ledger, order: &Planned, end: End, event: u64) {
    ledger.read(order.id, Said::Final(end), event, 2 * SECOND);
}

fn fault(ledger: &Ledger) -> String {
    ledger.faults().join("\n")
}

#[test]
fn an_order_that_becomes_final_once_is_right_and_measured() {
    let order = planned(1);
    let mut ledger = with(&order);
    assert_eq!(ledger.backlog(), 1);
    assert!(ledger.read(order.id, Said::Created, 1, SECOND));
    assert!(ledger.read(order.id, Said::Validated, 2, SECOND));
    finished(&mut ledger, &order, End::Shipped, 3);
    assert_eq!(fault(&ledger), "");
    assert_eq!(ledger.backlog(), 0);
    assert_eq!((ledger.counts().accepted, ledger.counts().shipped), (1, 1));
    assert_eq!(ledger.finished(), (1, 2 * SECOND));
    assert_eq!(ledger.reserved(1), [500]);
    assert!((ledger.acknowledged.percentile(50.0) - 1000.0).abs() < 1.0);
    assert!((ledger.completed.percentile(50.0) - 2000.0).abs() < 2.0);
}

#[test]
fn an_accepted_order_that_is_not_final_is_a_fault_and_one_that_was_refused_is_none() {
    let order = planned(1);
    assert!(fault(&with(&order)).contains("is not final"));
    let mut ledger = Ledger::default();
    ledger.sent(&order, Duration::ZERO);
    let refused = Answered::Refused {
        perhaps_stored: false,
    };
    ledger.answered(order.id, refused, SECOND);
    assert_eq!(fault(&ledger), "");
    finished(&mut ledger, &order, End::Shipped, 1);
    assert!(fault(&ledger).contains("was refused, and is final"));
}

#[test]
fn a_record_read_twice_is_counted_and_two_final_events_are_a_fault() {
    let order = planned(1);
    let mut ledger = with(&order);
    finished(&mut ledger, &order, End::Shipped, 1);
    finished(&mut ledger, &order, End::Shipped, 1);
    assert_eq!(fault(&ledger), "");
    assert_eq!((ledger.counts().records_twice, ledger.counts().shipped), (1, 1));
    finished(&mut ledger, &order, End::Shipped, 2);
    assert!(fault(&ledger).contains("two different final events"));
}

#[test]
fn an_end_that_was_not_asked_for_is_a_fault() {
    let cases = [
        (false, None, End::Rejected, "was rejected"),
        (true, None, End::Shipped, "and was shipped"),
        (false, None, End::Cancelled, "did not ask"),
        (
            false,
            Some(CancelAnswered::Done),
            End::Shipped,
            "as was answered, and was shipped",
        ),
        (false, Some(CancelAnswered::TooLate), End::Cancelled, "too late"),
        (false, Some(CancelAnswered::TooLate), End::Shipped, ""),
        (false, Some(CancelAnswered::Done), End::Cancelled, ""),
        (true, None, End::Rejected, ""),
    ];
    for (rejected, cancel, end, expected) in cases {
        let order = Planned {
            rejected,
            ..planned(1)
        };
        let mut ledger = with(&order);
        finished(&mut ledger, &order, end, 1);
        if let Some(cancel) = cancel {
            ledger.cancel_answered(order.id, cancel);
        }
        let fault = fault(&ledger);
        match expected {
            "" => assert_eq!(fault, ""),
            expected => assert!(fault.contains(expected), "{fault}"),
        }
    }
}

#[test]
fn an_order_without_an_answer_may_be_final_or_not() {
    let order = planned(1);
    let mut ledger = Ledger::default();
    ledger.sent(&order, Duration::ZERO);
    let perhaps = Answered::Refused { perhaps_stored: true };
    ledger.answered(order.id, perhaps, SECOND);
    assert_eq!(fault(&ledger), "");
    finished(&mut ledger, &order, End::Shipped, 1);
    assert_eq!(fault(&ledger), "");
}

#[test]
fn what_was_sent_before_the_measuring_is_checked_and_not_counted() {
    let order = planned(1);
    let mut ledger = Ledger::default();
    ledger.sent(&order, Duration::ZERO);
    ledger.measure_from(SECOND);
    ledger.answered(order.id, Answered::Accepted, SECOND);
    assert!(fault(&ledger).contains("is not final"));
    finished(&mut ledger, &order, End::Shipped, 1);
    assert_eq!(
        (
            ledger.counts().offered,
            ledger.counts().accepted,
            ledger.counts().shipped
        ),
        (0, 0, 0)
    );
    assert_eq!(
        ledger.finished().0,
        1,
        "it is one of the sagas of the measured time"
    );
    assert_eq!(fault(&ledger), "");
}

#[test]
fn of_many_faults_alike_a_few_are_told() {
    let mut ledger = Ledger::default();
    for number in 0..20 {
        let order = planned(number);
        ledger.sent(&order, Duration::ZERO);
        ledger.answered(order.id, Answered::Accepted, SECOND);
    }
    let faults = ledger.faults();
    assert_eq!(faults.len(), TOLD + 1);
    assert!(faults[TOLD].contains("15 more"), "{faults:?}");
}
