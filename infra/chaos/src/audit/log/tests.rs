use std::slice;

use contracts::{CustomerId, OrderId, OrderShipped};
use serde::Serialize;
use shared::{
    envelope::{Context, OutboxEvent},
    event_log::Position,
    json::FieldError,
};

use super::*;

const ORDER: OrderId = OrderId(Uuid::from_u128(7));
const CUSTOMER: CustomerId = CustomerId(Uuid::from_u128(1));

/// An event of an order that nobody but this test knows.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OrderReturned {
    order_id: OrderId,
    customer_id: CustomerId,
}

impl Event for OrderReturned {
    const NAME: &'static str = "OrderReturned";
    fn read(mut fields: Fields<'_>) -> Result<Self, Vec<FieldError>> {
        let order_id = fields.required::<OrderId>("orderId");
        let customer_id = fields.required::<CustomerId>("customerId");
        match (order_id, customer_id) {
            (Some(order_id), Some(customer_id)) => Ok(OrderReturned {
                order_id,
                customer_id,
            }),
            _ => Err(fields.into_errors()),
        }
    }
    fn about(&self) -> About {
        About::default()
            .with("customer_id", self.customer_id)
            .with("order_id", self.order_id)
    }
}

const EVENTS: &[EventType] = &[EventType::of::<OrderShipped>(), EventType::of::<OrderReturned>()];

fn record<E: Event>(event: &E, number: i64, place: Place, context: &Context) -> ConsumedRecord {
    let event = OutboxEvent::new(event, ORDER, number, "orders", Timestamp(0), context);
    let record = event.record("topic");
    let (partition, offset) = place;
    ConsumedRecord {
        position: Position {
            topic: "topic".into(),
            partition,
            offset,
        },
        generation: 0,
        key: record.key,
        value: record.value,
        headers: record.headers,
    }
}

fn shipped(place: Place) -> ConsumedRecord {
    let event = OrderShipped {
        id: ORDER,
        customer_id: Some(CUSTOMER),
        amount: None,
    };
    record(&event, 2, place, &Context::default())
}

/// Caused by the shipping.
fn returned(place: Place) -> ConsumedRecord {
    let event = OrderReturned {
        order_id: ORDER,
        customer_id: CUSTOMER,
    };
    let cause = EventId::of(ORDER, OrderShipped::NAME, 2);
    let context = Context {
        causation_id: Some(cause.to_string()),
        ..Context::default()
    };
    record(&event, 3, place, &context)
}

fn judged(records: &[ConsumedRecord]) -> (LogFacts, Differences) {
    let mut found = Differences::default();
    let mut facts = LogFacts::of(EVENTS);
    for record in records {
        facts.take(record, &mut found);
    }
    facts.check(&mut found);
    (facts, found)
}

#[test]
fn an_event_that_only_the_list_knows_is_judged() {
    let sound = [shipped((0, 0)), returned((0, 1)), returned((0, 2))];
    let (mut facts, found) = judged(&sound);
    assert_eq!((found.total(), facts.duplicates), (0, 1));
    let order = facts.take_traces("order_id").remove(&ORDER.0).unwrap();
    let first = order.first(OrderReturned::NAME).unwrap();
    assert_eq!((first.place, first.customer), ((0, 1), Some(CUSTOMER.0)));

    let other_id = EventId::of(CUSTOMER, OrderReturned::NAME, 3).to_string();
    type Spoil<'a> = &'a dyn Fn(&mut [ConsumedRecord; 3]);
    let spoilt: [(&str, Invariant, Spoil<'_>); 6] = [
        ("other bytes", Invariant::AnnouncedIsInLog, &|records| {
            records[2].headers.pop();
        }),
        ("another's key", Invariant::AnnouncedIsInLog, &|records| {
            let key = Some(ORDER.to_string().into_bytes());
            records.iter_mut().for_each(|record| record.key = key.clone());
        }),
        (
            "an id of another subject",
            Invariant::AnnouncedIsInLog,
            &|records| {
                let id = records[1]
                    .headers
                    .iter_mut()
                    .find(|header| header.name == "ce_id");
                id.unwrap().value = Some(other_id.clone().into_bytes());
            },
        ),
        ("an id that is none", Invariant::AnnouncedIsInLog, &|records| {
            let id = records[1]
                .headers
                .iter_mut()
                .find(|header| header.name == "ce_id");
            id.unwrap().value = Some(b"x".to_vec());
        }),
        ("another partition", Invariant::CauseBeforeEffect, &|records| {
            records[1].position.partition = 1;
        }),
        ("before its cause", Invariant::CauseBeforeEffect, &|records| {
            records[0].position.offset = 5;
        }),
    ];
    for (what, invariant, spoil) in spoilt {
        let mut records = sound.clone();
        spoil(&mut records);
        let (_, found) = judged(&records);
        assert_eq!(found.found(invariant), found.total(), "{what}");
        assert!(found.total() > 0, "{what} is not told");
    }
}

#[test]
fn an_event_without_a_cause_stands_in_the_partition_of_its_subject() {
    let mut returned = returned((1, 1));
    returned.headers.retain(|header| header.name != "ce_causationid");
    let (_, found) = judged(&[shipped((0, 0)), returned.clone()]);
    assert!(found.found(Invariant::CauseBeforeEffect) > 0);
    let (_, found) = judged(slice::from_ref(&returned));
    assert_eq!(found.total(), 0, "it is the only one");
}
