//! Another writer to the log, who keeps to no rule of ours: records that are no events or have no
//! value, events with parts missing, about orders that nobody knows, about orders of ours, of names
//! that nobody knows, and copies of events under other keys or none.

use std::rc::Rc;

use customers::Customers;
use orders::Orders;
use serde_json::json;
use shared::{contracts::TOPIC, event_log::Record, service::Service};

use crate::{chance::Chance, instance::World, seen::Seen, wire::pause};

const ORDERS: &str = Orders::DEFAULTS.group;
const CUSTOMERS: &str = Customers::DEFAULTS.group;

/// A record, and which groups have to give it up for which reason.
struct Written {
    value: Option<String>,
    poison: &'static [(&'static str, &'static str)],
}

const NO_ENVELOPE: &[(&str, &str)] = &[(ORDERS, "malformed-envelope"), (CUSTOMERS, "malformed-envelope")];
const NO_ORDER_CREATED: &[(&str, &str)] = &[(CUSTOMERS, "malformed-event")];
const NO_CUSTOMER: &[(&str, &str)] = &[(CUSTOMERS, "no-customer")];
const NO_VALIDATION: &[(&str, &str)] = &[(ORDERS, "malformed-event")];
const NO_ORDER: &[(&str, &str)] = &[(ORDERS, "unknown-order")];

/// Writes some records, now and then.
pub async fn run(world: Rc<World>, chance: Chance) {
    for _ in 0..chance.below(7) {
        pause(chance.millis(100, 4_000)).await;
        if !world.wire.faults.is_active() {
            return;
        }
        if chance.strikes(0.4) {
            copy(&world, &chance);
        } else {
            let (written, of) = nonsense(&world, &chance);
            let key = of.or_else(|| key(&world, &chance));
            append(&world, key, written);
        }
    }
}

fn append(world: &World, key: Option<Vec<u8>>, written: Written) {
    let record = Record {
        topic: TOPIC.to_owned(),
        key,
        value: written.value.map(String::into_bytes),
        headers: Vec::new(),
    };
    let Some(place) = world.broker.place(&record) else {
        return;
    };
    let position = world.broker.append(&place, record);
    world.observer.with(|seen| {
        for (group, reason) in written.poison {
            let given = ((*group).to_owned(), position.partition, position.offset);
            seen.poison.insert(given, (*reason).to_owned());
        }
    });
}

/// A customer's, one of its own, or none.
fn key(world: &World, chance: &Chance) -> Option<Vec<u8>> {
    let customers = |seen: &mut Seen| seen.asked.customers.iter().copied().collect::<Vec<_>>();
    let customers = world.observer.with(customers);
    match chance.below(3) {
        0 => None,
        1 => Some(format!("stranger {}", chance.below(4)).into_bytes()),
        _ if customers.is_empty() => None,
        _ => Some(chance.pick(&customers).to_string().into_bytes()),
    }
}

fn envelope(name: &str, data: &str) -> Option<String> {
    Some(json!({ "name": name, "eventData": data }).to_string())
}

/// With the key, where it matters.
fn nonsense(world: &World, chance: &Chance) -> (Written, Option<Vec<u8>>) {
    let id = chance.uuid();
    let customer = chance.uuid();
    let orders = |seen: &mut Seen| {
        let orders = seen.asked.orders.iter();
        orders
            .map(|(id, (customer, _))| (*id, *customer))
            .collect::<Vec<_>>()
    };
    let orders = world.observer.with(orders);
    let mut key = None;
    let (value, poison): (_, &'static [_]) = match chance.below(13) {
        11 | 12 if !orders.is_empty() => {
            // An event of an order of ours that fails: later ones of that order wait behind it.
            let (id, customer) = *chance.pick(&orders);
            key = Some(customer.to_string().into_bytes());
            (
                envelope("OrderCancelled", &json!({ "id": id }).to_string()),
                NO_CUSTOMER,
            )
        }
        0 => (Some("{\"name\":".to_owned()), NO_ENVELOPE),
        1 => (None, &[]),
        2 => (Some(json!({ "name": "OrderCreated" }).to_string()), NO_ENVELOPE),
        3 => {
            let data = json!({ "id": id, "customerId": customer });
            (envelope("OrderCreated", &data.to_string()), NO_ORDER_CREATED)
        }
        4 => {
            let data = json!({ "id": id, "customerId": customer, "amount": -5, "status": 0 });
            (envelope("OrderCreated", &data.to_string()), NO_ORDER_CREATED)
        }
        5 => (envelope("OrderCreated", "not JSON"), NO_ORDER_CREATED),
        6 => {
            let data = json!({ "id": id });
            (envelope("OrderCancelled", &data.to_string()), NO_CUSTOMER)
        }
        7 => {
            let data = json!({ "orderId": "no id", "isValid": true });
            (envelope("OrderValidated", &data.to_string()), NO_VALIDATION)
        }
        8 => {
            let data = json!({ "orderId": id, "isValid": true });
            (envelope("OrderValidated", &data.to_string()), NO_ORDER)
        }
        9 => (envelope("CustomerCreated", "not read by anybody"), &[]),
        _ => (envelope("SomethingElse", "{}"), &[]),
    };
    (Written { value, poison }, key)
}

/// An `OrderCreated` of ours once more, as a C# service would write it.
fn copy(world: &World, chance: &Chance) {
    let orders = world.observer.with(|seen| {
        seen.created
            .values()
            .map(|(_, event)| event.clone())
            .collect::<Vec<_>>()
    });
    if orders.is_empty() {
        return;
    }
    let order = chance.pick(&orders).clone();
    world.observer.with(|seen| seen.copied.insert(order.id));
    let data = serde_json::to_string(&order).expect("an event is JSON");
    let value = if chance.strikes(0.5) {
        envelope("OrderCreated", &data)
    } else {
        Some(json!({ "EVENTDATA": data, "Name": "OrderCreated", "more": 1 }).to_string())
    };
    let key = key(world, chance);
    append(world, key, Written { value, poison: &[] });
}
