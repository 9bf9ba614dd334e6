//! Another writer to the log, who keeps to no rule of ours: records that are no events or have no
//! value, events with parts missing, about orders that nobody knows, about orders of ours, of names
//! that nobody knows, and copies of events under other keys or none.

use std::rc::Rc;

use contracts::{CustomerId, OrderCreated, OrderId, TOPIC};
use customers::Customers;
use orders::Orders;
use serde_json::json;
use shared::{
    event_log::{Position, Record},
    service::Service,
};

use crate::{
    chance::Chance,
    faults::Kind,
    instance::World,
    seen::{Given, Seen},
    wire::pause,
};

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
        // A copy of an event is answered once more, which is no fault; but it is a second record.
        if world.kind != Kind::Calm && chance.strikes(0.4) {
            copy(&world, &chance);
        } else {
            let ours = |seen: &mut Seen| {
                let orders = seen.asked.orders.iter();
                orders.map(|(id, (customer, _))| (*id, *customer)).collect()
            };
            let orders: Vec<_> = world.observer.with(ours);
            let (written, of) = nonsense(&chance, chance.below(KINDS), &orders);
            let key = of.or_else(|| key(&world, &chance));
            append(&world, key, written);
        }
    }
}

fn append(world: &World, key: Option<Vec<u8>>, written: Written) -> Option<Position> {
    let record = Record {
        topic: TOPIC.to_owned(),
        key,
        value: written.value.map(String::into_bytes),
        headers: Vec::new(),
    };
    let place = world.broker.place(&record)?;
    let position = world.broker.append(&place, record);
    world.observer.with(|seen| {
        for (group, reason) in written.poison {
            let given = ((*group).to_owned(), position.partition, position.offset);
            seen.poison.insert(given, (*reason).to_owned());
        }
    });
    Some(position)
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

/// Kinds of [`nonsense`].
const KINDS: usize = 14;

/// With the key, where it matters.
fn nonsense(chance: &Chance, kind: usize, orders: &[(OrderId, CustomerId)]) -> (Written, Option<Vec<u8>>) {
    let id = chance.uuid();
    let customer = chance.uuid();
    let mut key = None;
    let (value, poison): (_, &'static [_]) = match kind {
        11 | 12 if !orders.is_empty() => {
            // An event of an order of ours that fails: later ones of that order wait behind it.
            let (id, customer) = *chance.pick(orders);
            key = Some(customer.to_string().into_bytes());
            let data = json!({ "id": id });
            (envelope("OrderCancelled", &data.to_string()), NO_CUSTOMER)
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
        9 => (Some("\u{0}\u{1b}[2J".to_owned()), NO_ENVELOPE),
        10 => (envelope("CustomerCreated", "not read by anybody"), &[]),
        _ => (envelope("SomethingElse", "{}"), &[]),
    };
    (Written { value, poison }, key)
}

/// An `OrderCreated` of ours once more, as a C# service would write it.
fn copy(world: &World, chance: &Chance) {
    let Some(order) = some_order(world, chance) else {
        return;
    };
    let key = key(world, chance);
    write_copy(world, key, &order, chance.strikes(0.5));
}

/// Says once more that these orders were created: whoever knows better answers.
pub fn mention(world: &World, orders: &[OrderId]) {
    for id in orders {
        let created = world
            .observer
            .with(|seen| seen.created.get(id).map(|(_, event)| event.clone()));
        if let Some(order) = created {
            let key = order.customer_id.to_string().into_bytes();
            write_copy(world, Some(key), &order, true);
        }
    }
}

fn write_copy(world: &World, key: Option<Vec<u8>>, order: &OrderCreated, exact: bool) {
    world.observer.with(|seen| seen.copied.insert(order.id));
    let data = serde_json::to_string(&order).expect("an event is JSON");
    let value = if exact {
        envelope("OrderCreated", &data)
    } else {
        Some(json!({ "EVENTDATA": data, "Name": "OrderCreated", "more": 1 }).to_string())
    };
    if let Some(position) = append(world, key, Written { value, poison: &[] }) {
        let copy = (position.partition, position.offset);
        world.observer.with(|seen| seen.copies.insert(copy));
    }
}

fn some_order(world: &World, chance: &Chance) -> Option<OrderCreated> {
    let orders = world.observer.with(|seen| {
        let created = seen.created.values();
        created.map(|(_, event)| event.clone()).collect::<Vec<_>>()
    });
    (!orders.is_empty()).then(|| chance.pick(&orders).clone())
}

/// A value that an operator may put in place of this one: one that can be handled, and does no harm,
/// since the order is known. Where it was malformed to Customers, it is a copy of some `OrderCreated`.
pub fn mended(world: &World, chance: &Chance, (group, partition, offset): &Given) -> Option<String> {
    if world.kind == Kind::Calm || group != CUSTOMERS || chance.strikes(0.5) {
        return None;
    }
    let order = some_order(world, chance)?;
    world.observer.with(|seen| {
        seen.copied.insert(order.id);
        seen.mended.insert((group.clone(), *partition, *offset));
    });
    let data = serde_json::to_string(&order).expect("an event is JSON");
    envelope("OrderCreated", &data)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_kind_of_odd_record_occurs() {
        let chance = Chance::new(1);
        let ours = [(OrderId(chance.uuid()), CustomerId(chance.uuid()))];
        let all: Vec<_> = (0..KINDS).map(|kind| nonsense(&chance, kind, &ours).0).collect();
        let reasons: BTreeSet<_> = all.iter().flat_map(|written| written.poison).collect();
        let expected = [
            NO_ENVELOPE,
            NO_ORDER_CREATED,
            NO_CUSTOMER,
            NO_VALIDATION,
            NO_ORDER,
        ];
        assert_eq!(reasons, expected.into_iter().flatten().collect());
        assert!(
            all.iter().any(|written| written.value.is_none()),
            "without a value"
        );
        let foreign = |written: &&Written| written.value.is_some() && written.poison.is_empty();
        assert_eq!(
            all.iter().filter(foreign).count(),
            2,
            "of a name that is not read, or not known"
        );
    }
}
