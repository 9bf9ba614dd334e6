//! Reads the log outside any group and tells the ledger what it says; copies records into it, where
//! that is asked for.

use std::rc::Rc;

use contracts::{OrderStatus, OrderValidated};
use shared::{
    event_log::{ConsumedRecord, EventLog, Record, Tail},
    events::Event,
};
use uuid::Uuid;

use crate::{
    ledger::{End, Said},
    session::Session,
};

/// Records that are taken from the tail at a time.
const BATCH: usize = 256;

/// Follows the log until it ends.
pub async fn follow(session: Rc<Session>, mut tail: Tail, log: &dyn EventLog, duplicates: f64, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut records = Vec::with_capacity(BATCH);
    while tail.recv_many(&mut records, BATCH).await > 0 {
        let now = session.now();
        let mut ledger = session.ledger.borrow_mut();
        for record in records.drain(..) {
            let Some(read) = read(&record) else { continue };
            let first = ledger.read(read.order, read.said, read.event, now);
            if first && duplicates > 0.0 && random.f64() < duplicates {
                // Whether it arrived is seen by reading the log.
                drop(log.publish(copy(record)));
            }
        }
    }
}

/// What is read of a record.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    order: Uuid,
    said: Said,
    /// A part of the event's id.
    event: u64,
}

/// Reads headers only, as far as they say enough. `None`: no record of our services about an order.
fn read(record: &ConsumedRecord) -> Option<Read> {
    let header = |name: &str| {
        let header = record.headers.iter().find(|header| header.name == name)?;
        header.value.as_deref()
    };
    let name = std::str::from_utf8(header("ce_type")?).ok()?;
    let said = match OrderStatus::of_event(name) {
        Some(OrderStatus::Shipped) => Said::Final(End::Shipped),
        Some(OrderStatus::Cancelled) => Said::Final(end(record.value.as_deref()?)),
        Some(status) if status.is_final() => Said::Final(End::Other),
        Some(_) => Said::Created,
        None if name == OrderValidated::NAME => Said::Validated,
        None => return None,
    };
    Some(Read {
        order: Uuid::try_parse_ascii(header("ce_subject")?).ok()?,
        said,
        event: Uuid::try_parse_ascii(header("ce_id")?).ok()?.as_u64_pair().0,
    })
}

/// Beside the reason there is nothing in the event but ids and an amount.
fn end(cancelled: &[u8]) -> End {
    let reason = b"CancelledByCustomer";
    if cancelled.windows(reason.len()).any(|part| part == reason) {
        End::Cancelled
    } else {
        End::Rejected
    }
}

fn copy(record: ConsumedRecord) -> Record {
    Record {
        topic: record.position.topic.to_string(),
        key: record.key,
        value: record.value,
        headers: record.headers,
    }
}

#[cfg(test)]
mod tests {
    use contracts::{CancelReason, OrderCancelled, OrderId, OrderShipped};
    use shared::{
        envelope::{Context, OutboxEvent},
        environment::Timestamp,
        event_log::Position,
        events::EventId,
    };

    use super::*;

    fn record<E: Event>(event: &E) -> ConsumedRecord {
        let (of, context) = (Uuid::from_u128(7), Context::default());
        let event = OutboxEvent::new(event, of, 2, "orders", Timestamp(0), &context);
        let record = event.record("topic");
        ConsumedRecord {
            position: Position {
                topic: "topic".into(),
                partition: 0,
                offset: 0,
            },
            generation: 0,
            key: record.key,
            value: record.value,
            headers: record.headers,
        }
    }

    #[test]
    fn what_the_services_write_is_read() {
        let id = OrderId(Uuid::from_u128(7));
        let cancelled = |reason| OrderCancelled {
            id,
            customer_id: None,
            amount: None,
            reason: Some(reason),
        };
        let shipped = OrderShipped {
            id,
            customer_id: None,
            amount: None,
        };
        let event = |name| EventId::of(id, name, 2).0.as_u64_pair().0;
        for (record, end, name) in [
            (record(&shipped), End::Shipped, OrderShipped::NAME),
            (
                record(&cancelled(CancelReason::CancelledByCustomer)),
                End::Cancelled,
                OrderCancelled::NAME,
            ),
            (
                record(&cancelled(CancelReason::InsufficientCredit)),
                End::Rejected,
                OrderCancelled::NAME,
            ),
        ] {
            let expected = Read {
                order: id.0,
                said: Said::Final(end),
                event: event(name),
            };
            assert_eq!(read(&record), Some(expected));
        }
    }

    #[test]
    fn records_of_others_are_passed_over() {
        let mut record = record(&OrderShipped {
            id: OrderId(Uuid::from_u128(7)),
            customer_id: None,
            amount: None,
        });
        record.headers.clear();
        assert_eq!(read(&record), None);
    }
}
