//! Clients under stress: they order, cancel, change limits, repeat themselves and read back. They
//! are careful: what was not answered is sent again under the same id until it is.

use std::{collections::VecDeque, sync::atomic::Ordering, time::Duration};

use fleet::Service;
use serde_json::{Value, json};
use shared::money::Money;
use uuid::{Builder, Uuid};

use super::{
    client::{Answer, Client},
    world::{World, count, lock},
};
use crate::audit::{Sent, differences::Invariant};

/// Busy customers, on which most of the orders fall.
const BUSY: usize = 3;
/// Orders that a client remembers, to come back to them.
const REMEMBERED: usize = 200;
/// Between two requests of a client, in milliseconds.
const PAUSE: std::ops::Range<u64> = 2..25;
/// Before a request is sent again, in milliseconds.
const RETRY: std::ops::Range<u64> = 20..200;
/// The header-sized part of every name: what a log would show if it let control characters through.
const FORGED: &str = "Ada\u{1b}[31m\r\nforged-line";

/// One client.
pub struct Worker<'a> {
    world: &'a World,
    client: Client,
    random: fastrand::Rng,
    /// Of how many, which one: it alone changes the limits of its customers.
    place: (usize, usize),
    recent: VecDeque<Known>,
    /// The limit that was acknowledged last, by customer.
    limits: std::collections::BTreeMap<Uuid, f64>,
}

/// An order, as this client knows it.
#[derive(Clone)]
struct Known {
    id: Uuid,
    body: Value,
    /// Its final state, once that was read.
    end: Option<(String, Option<String>)>,
}

impl<'a> Worker<'a> {
    /// Client number `place.0` of `place.1`.
    pub fn new(world: &'a World, place: (usize, usize)) -> Worker<'a> {
        Worker {
            world,
            client: Client::new(),
            random: fastrand::Rng::with_seed(world.seed.wrapping_mul(31).wrapping_add(place.0 as u64)),
            place,
            recent: VecDeque::new(),
            limits: std::collections::BTreeMap::new(),
        }
    }

    /// Works until there is to be no more.
    pub fn run(&mut self) {
        let world = self.world;
        while !world.no_more.load(Ordering::Relaxed) && !world.is_stopped() {
            match self.random.u32(..100) {
                0..62 => self.order(),
                62..68 => self.order_again(),
                68..70 => self.order_something_else(),
                70..79 => self.cancel(),
                79..84 => self.change_limit(),
                84..87 => self.order_of_nobody(),
                87..99 => self.read_back(),
                _ => self.be_rude(),
            }
            let pause = self.random.u64(PAUSE);
            world.sleep(Duration::from_millis(pause));
        }
    }

    fn order(&mut self) {
        let customers = &self.world.customers;
        let busy = self.random.u32(..100) < 60;
        let customer = if busy {
            customers[self.random.usize(..BUSY)]
        } else {
            customers[self.random.usize(BUSY..customers.len())]
        };
        self.order_of(customer);
    }

    fn order_of_nobody(&mut self) {
        let nobody = self.id();
        self.order_of(nobody);
    }

    fn order_of(&mut self, customer: Uuid) {
        let id = self.id();
        let cents = self.random.u32(1..5000);
        let amount = format!("{}.{:02}", cents / 100, cents % 100);
        let sent = Sent {
            customer,
            amount: Money::parse(&amount).expect("digits with a point are money"),
            acknowledged: false,
            cancelled: false,
        };
        lock(&self.world.ledger).insert(id, sent);
        let body = json!({ "id": id, "customerId": customer, "amount": amount });
        let Some((status, answer)) = self.persist("order", id, |worker, url| {
            worker
                .client
                .post(&format!("{url}/api/orders"), &body, &worker.world.secret)
        }) else {
            return;
        };
        if status == 201 && answer["id"] == json!(id) {
            count(&self.world.counts.acknowledged);
            if let Some(sent) = lock(&self.world.ledger).get_mut(&id) {
                sent.acknowledged = true;
            }
            self.recent.push_back(Known { id, body, end: None });
            if self.recent.len() > REMEMBERED {
                self.recent.pop_front();
            }
        } else {
            self.wrong(
                "an order should be answered 201 with its id",
                id,
                (status, answer),
            );
        }
    }

    /// The same again: answered as the first time, perhaps further on its way.
    fn order_again(&mut self) {
        let Some(known) = self.some() else { return };
        let Some((status, answer)) = self.persist("repeated order", known.id, |worker, url| {
            let url = format!("{url}/api/orders");
            worker.client.post(&url, &known.body, &worker.world.secret)
        }) else {
            return;
        };
        count(&self.world.counts.repeated);
        if status != 201 || answer["id"] != json!(known.id) {
            self.wrong(
                "a repeated order should be answered as the first",
                known.id,
                (status, answer),
            );
        } else {
            self.saw(known.id, &answer);
        }
    }

    /// Another order under a known id is refused.
    fn order_something_else(&mut self) {
        let Some(known) = self.some() else { return };
        let mut body = known.body.clone();
        body["amount"] = json!("99999.5");
        let answer = self.persist("contradiction", known.id, |worker, url| {
            worker
                .client
                .post(&format!("{url}/api/orders"), &body, &worker.world.secret)
        });
        match answer {
            None | Some((409, _)) => {}
            Some(answer) => self.wrong(
                "another order under the same id should be answered 409",
                known.id,
                answer,
            ),
        }
    }

    fn cancel(&mut self) {
        // Mostly a fresh one, so that some cancellations overtake the validation.
        let fresh = self.random.bool();
        let known = if fresh {
            self.recent.back().cloned()
        } else {
            self.some()
        };
        let Some(known) = known else { return };
        let answer = self.persist("cancellation", known.id, |worker, url| {
            let url = format!("{url}/api/orders/{}/cancel", known.id);
            worker.client.post(&url, &json!({}), &worker.world.secret)
        });
        match answer {
            None | Some((409, _)) => {}
            Some((200, answer)) => {
                if let Some(sent) = lock(&self.world.ledger).get_mut(&known.id) {
                    sent.cancelled = true;
                }
                self.saw(known.id, &answer);
            }
            Some(answer) => self.wrong("a cancellation should be answered 200 or 409", known.id, answer),
        }
    }

    /// To a little more or less than is reserved, so that orders go on being valid, and not.
    fn change_limit(&mut self) {
        let (number, of) = self.place;
        let customers = &self.world.customers;
        let mine: Vec<Uuid> = customers.iter().skip(number).step_by(of).copied().collect();
        let customer = mine[self.random.usize(..mine.len())];
        let path = format!("/api/customers/{customer}");
        let read = self.persist_at(Service::Customers, "customer", customer, |worker, url| {
            worker.client.get(&format!("{url}{path}"))
        });
        let Some((200, read)) = read else {
            if let Some(answer) = read {
                self.wrong("a customer should be found", customer, answer);
            }
            return;
        };
        self.saw_customer(customer, &read);
        let reserved = read["reserved"].as_f64().unwrap_or(0.0);
        let limit = (reserved + self.random.f64() * 1200.0 - 300.0).max(0.0).round();
        self.limits.remove(&customer);
        let set = self.persist_at(Service::Customers, "limit", customer, |worker, url| {
            worker
                .client
                .put(&format!("{url}{path}/credit-limit"), &json!(limit))
        });
        match set {
            None => {}
            Some((200, answer)) => {
                self.limits.insert(customer, limit);
                self.saw_customer(customer, &answer);
            }
            Some(answer) => self.wrong("a limit should be set", customer, answer),
        }
    }

    fn read_back(&mut self) {
        let Some(known) = self.some() else { return };
        let answer = self.persist("reading", known.id, |worker, url| {
            worker.client.get(&format!("{url}/api/orders/{}", known.id))
        });
        match answer {
            None => {}
            Some((200, answer)) => self.saw(known.id, &answer),
            Some((status, answer)) => {
                let fault =
                    format!("was acknowledged, is read as {status}: {answer}; look at the logs of orders");
                lock(&self.world.differences).check(
                    Invariant::ReadsGoForward,
                    format_args!("order {}", known.id),
                    Some(fault),
                );
            }
        }
    }

    /// What nobody should send: never answered by an error of the server's, never in a log as it is.
    fn be_rude(&mut self) {
        let id = self.id();
        let (service, path, body) = match self.random.u32(..4) {
            0 => (
                Service::Customers,
                "/api/customers".to_owned(),
                json!({ "id": id, "name": FORGED, "creditLimit": -1 }),
            ),
            1 => (
                Service::Orders,
                "/api/orders".to_owned(),
                json!({ "id": FORGED, "customerId": 7, "amount": "NaN" }),
            ),
            2 => (
                Service::Orders,
                format!("/api/orders/%0d%0aforged-line{id}/cancel"),
                json!({}),
            ),
            _ => (
                Service::Orders,
                "/api/orders?wait=forever%0aforged-line".to_owned(),
                json!({ "amount": "1e999" }),
            ),
        };
        let answer = self.persist_at(service, "rude request", id, |worker, url| {
            worker
                .client
                .post(&format!("{url}{path}"), &body, &worker.world.secret)
        });
        if let Some((status, answer)) = answer
            && !(400..500).contains(&status)
        {
            self.wrong("a wrong request should be answered 4xx", id, (status, answer));
        }
    }

    /// I12: an order that was read does not go backwards, and a final one never changes.
    fn saw(&mut self, id: Uuid, answer: &Value) {
        let word = |name: &str| answer[name].as_str().map(str::to_owned);
        let (status, reason) = (word("status").unwrap_or_default(), word("reason"));
        let now = (status != "Created").then_some((status, reason));
        let Some(known) = self.recent.iter_mut().find(|known| known.id == id) else {
            return;
        };
        let fault = match (&known.end, &now) {
            (Some(before), now) if now.as_ref() != Some(before) => Some(format!(
                "was read as {before:?}, now as {answer}; look at the logs of orders"
            )),
            _ => None,
        };
        known.end = known.end.take().or(now);
        lock(&self.world.differences).check(Invariant::ReadsGoForward, format_args!("order {id}"), fault);
    }

    /// I1 and I12 of a customer whose limit only this client changes.
    fn saw_customer(&mut self, customer: Uuid, answer: &Value) {
        let number = |name: &str| answer[name].as_f64();
        let about = format!("customer {customer}");
        let negative = number("reserved").is_none_or(|reserved| reserved < 0.0);
        let fault = negative.then(|| format!("read as {answer}; look at customers"));
        let mut differences = lock(&self.world.differences);
        differences.check(Invariant::WithinCredit, &about, fault);
        if let Some(limit) = self.limits.get(&customer) {
            let fault = (number("creditLimit") != Some(*limit))
                .then(|| format!("its limit was set to {limit}, is read as {answer}; look at customers"));
            differences.check(Invariant::ReadsGoForward, &about, fault);
        }
    }

    fn some(&mut self) -> Option<Known> {
        if self.recent.is_empty() {
            return None;
        }
        let number = self.random.usize(..self.recent.len());
        self.recent.get(number).cloned()
    }

    /// Ids follow from the seed, too.
    fn id(&mut self) -> Uuid {
        Builder::from_random_bytes(self.random.u128(..).to_le_bytes()).into_uuid()
    }

    fn persist(
        &mut self,
        what: &str,
        about: Uuid,
        ask: impl Fn(&Self, &str) -> Result<Answer, ureq::Error>,
    ) -> Option<Answer> {
        self.persist_at(Service::Orders, what, about, ask)
    }

    /// Asks one instance after another until there is an answer that says what happened.
    fn persist_at(
        &mut self,
        service: Service,
        what: &str,
        about: Uuid,
        ask: impl Fn(&Self, &str) -> Result<Answer, ureq::Error>,
    ) -> Option<Answer> {
        let world = self.world;
        loop {
            let url = world.url(service, &mut self.random);
            match ask(self, url) {
                Ok((503, _)) => count(&world.counts.unavailable),
                // The service was frozen after it accepted the connection. It did not read the request, so
                // the client may send it again.
                Ok((408, _)) => count(&world.counts.timeouts),
                Ok(answer) => return Some(answer),
                Err(ureq::Error::Timeout(_)) => count(&world.counts.timeouts),
                Err(_) => count(&world.counts.broken),
            }
            if world.give_up.load(Ordering::Relaxed) {
                world.unexpected(format!(
                    "the {what} of {about} was not answered long after the last fault"
                ));
                return None;
            }
            let pause = self.random.u64(RETRY);
            if !world.sleep(Duration::from_millis(pause)) {
                return None;
            }
        }
    }

    fn wrong(&self, what: &str, about: Uuid, (status, answer): Answer) {
        self.world
            .unexpected(format!("{what}, not {status} {answer} ({about})"));
    }
}
