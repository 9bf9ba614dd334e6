//! What the parts of a run share. All of them live on one thread, so nothing is locked.

use std::{
    cell::{Cell, RefCell},
    fmt::Write as _,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use hyper::Uri;
use serde_json::Value;
use uuid::Uuid;

use crate::{
    client::{Answer, Client},
    ledger::{Answered, CancelAnswered, Ledger},
    setup::System,
    workload::{CREDIT, Extent, Plan, Planned, Workload},
};

/// How late anything that waits notices that all is to end.
const LOOK: Duration = Duration::from_millis(20);
/// Before a refused request of a closed loop is sent again; twice as long each time.
const RETRY: Duration = Duration::from_millis(20);
/// But no longer than this.
const LONGEST_RETRY: Duration = Duration::from_millis(160);
/// How long that goes on.
const RETRIED_FOR: Duration = Duration::from_secs(30);
/// How long the services may take to become ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long credit of cancelled orders may take to come back.
const RELEASED_WITHIN: Duration = Duration::from_secs(30);
/// Customers that are created at a time.
const AT_A_TIME: usize = 32;
/// Customers whose credit is looked at in the end.
const LOOKED_AT: usize = 200;

/// A run under way.
pub struct Session {
    begin: Instant,
    /// All orders.
    pub ledger: RefCell<Ledger>,
    /// Orders a second at this moment, in an open loop.
    pub rate: Cell<f64>,
    /// What is worth telling beside the figures.
    pub notes: RefCell<Vec<(String, String)>>,
    orders: Vec<Client>,
    customers: Vec<Client>,
    ids: Vec<Uuid>,
    plan: RefCell<Plan>,
    next: Cell<usize>,
    path: Uri,
    /// Measured orders that are still to be offered, where that is what ends the run.
    left: Cell<Option<u64>>,
    over: Cell<bool>,
    stop: Arc<AtomicBool>,
}

impl Session {
    /// A session with a system that is ready and has the customers of this load.
    pub async fn open(
        system: &mut System,
        load: &Workload,
        stop: Arc<AtomicBool>,
    ) -> anyhow::Result<Rc<Session>> {
        let (mut orders, mut customers) = (Vec::new(), Vec::new());
        for url in &system.orders {
            orders.push(Client::new(url).await?);
        }
        for url in &system.customers {
            customers.push(Client::new(url).await?);
        }
        let session = Rc::new(Session {
            begin: Instant::now(),
            ledger: RefCell::default(),
            rate: Cell::new(0.0),
            notes: RefCell::default(),
            orders,
            customers,
            ids: (0..load.customers).map(|_| Uuid::now_v7()).collect(),
            plan: RefCell::new(Plan::new(load)),
            next: Cell::new(0),
            path: Uri::from_static("/api/orders"),
            left: Cell::new(match load.extent {
                Extent::Orders(count) => Some(count),
                Extent::Time(_) => None,
            }),
            over: Cell::new(false),
            stop,
        });
        session.wait_until_ready(system).await?;
        session.create_customers().await?;
        Ok(session)
    }

    /// Time since the begin.
    pub fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    /// From now on is measured.
    pub fn measure(&self) {
        self.ledger.borrow_mut().measure_from(self.now());
    }

    /// No more orders.
    pub fn end(&self) {
        self.over.set(true);
    }

    /// Somebody wants all of this to end.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Whether there are no more orders to offer.
    pub fn is_over(&self) -> bool {
        self.over.get() || self.is_stopped()
    }

    /// The next order, to be sent at that time, unless there are to be no more.
    pub fn take(&self, intended: Duration) -> Option<Planned> {
        if self.is_over() {
            return None;
        }
        let measured = self.ledger.borrow().is_measured(intended);
        if let Some(left) = self.left.get().filter(|_| measured) {
            if left == 0 {
                self.end();
                return None;
            }
            self.left.set(Some(left - 1));
        }
        Some(self.plan.borrow_mut().next_order())
    }

    /// Waits; `false` where everything is to end.
    pub async fn sleep(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while !self.is_stopped() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            tokio::time::sleep(left.min(LOOK)).await;
        }
        false
    }

    /// Sends an order and whatever belongs to it. `persist`: one that is refused is sent again.
    pub async fn order(&self, order: Planned, intended: Duration, persist: bool) {
        self.ledger.borrow_mut().sent(&order, intended);
        let body = self.body(&order);
        let answered = self.ask_for(&body, intended, persist).await;
        let accepted = matches!(answered, Answered::Accepted);
        let now = self.now();
        self.ledger.borrow_mut().answered(order.id, answered, now);
        if !accepted {
            return;
        }
        if order.repeat {
            self.repeat(&order, body).await;
        }
        if order.cancel {
            self.cancel(&order).await;
        }
    }

    async fn ask_for(&self, body: &str, intended: Duration, persist: bool) -> Answered {
        let mut perhaps_stored = false;
        let mut pause = RETRY;
        loop {
            let answer = self.some_orders().post(self.path.clone(), body.to_owned()).await;
            match answer {
                Ok(answer) if answer.status == 201 => return Answered::Accepted,
                Ok(answer) if answer.status == 503 => {
                    self.ledger.borrow_mut().not_now();
                    perhaps_stored |= is_unknown(&answer);
                    let again =
                        persist && !self.is_stopped() && self.now().saturating_sub(intended) < RETRIED_FOR;
                    if !again {
                        return Answered::Refused { perhaps_stored };
                    }
                    tokio::time::sleep(pause).await;
                    pause = LONGEST_RETRY.min(pause * 2);
                }
                other => return Answered::Failed(told(other)),
            }
        }
    }

    async fn repeat(&self, order: &Planned, body: String) {
        self.ledger.borrow_mut().repeated();
        match self.some_orders().post(self.path.clone(), body).await {
            Ok(answer) if matches!(answer.status, 201 | 503) => {}
            other => {
                let what = format!("{}, repeated, was answered {}", order.id, told(other));
                self.ledger.borrow_mut().wrong(what);
            }
        }
    }

    async fn cancel(&self, order: &Planned) {
        self.ledger.borrow_mut().cancel_sent();
        let path = format!("/api/orders/{}/cancel", order.id);
        let answer = match path.try_into() {
            Ok(path) => self.some_orders().post(path, "{}").await,
            Err(error) => Err(anyhow::Error::new(error)),
        };
        let answered = match answer {
            Ok(answer) if answer.status == 200 => CancelAnswered::Done,
            Ok(answer) if answer.status == 409 => CancelAnswered::TooLate,
            Ok(answer) if answer.status == 503 => CancelAnswered::Refused,
            other => CancelAnswered::Failed(told(other)),
        };
        self.ledger.borrow_mut().cancel_answered(order.id, answered);
    }

    fn body(&self, order: &Planned) -> String {
        let mut body = String::with_capacity(160);
        let customer = self.ids[order.customer];
        let (units, cents) = (order.cents / 100, order.cents % 100);
        // Into a string that is never an error.
        let _ = write!(
            body,
            r#"{{"id":"{}","customerId":"{customer}","amount":{units}.{cents:02}}}"#,
            order.id
        );
        body
    }

    /// Instances take turns.
    fn some_orders(&self) -> &Client {
        let next = self.next.get();
        self.next.set((next + 1) % self.orders.len());
        &self.orders[next]
    }

    async fn wait_until_ready(&self, system: &mut System) -> anyhow::Result<()> {
        for client in self.orders.iter().chain(&self.customers) {
            loop {
                let answer = client.get(Uri::from_static("/health/ready")).await;
                match answer {
                    Ok(answer) if answer.status == 200 => break,
                    other => {
                        if let Some(lost) = system.lost() {
                            bail!("{lost}");
                        }
                        ensure!(
                            self.now() < READY_WITHIN,
                            "the services are not ready: {}",
                            told(other)
                        );
                    }
                }
                ensure!(self.sleep(LOOK).await, "stopped");
            }
        }
        Ok(())
    }

    async fn create_customers(self: &Rc<Self>) -> anyhow::Result<()> {
        let mut creating = tokio::task::JoinSet::new();
        for first in 0..AT_A_TIME.min(self.ids.len()) {
            let session = Rc::clone(self);
            creating.spawn_local(async move {
                for number in (first..session.ids.len()).step_by(AT_A_TIME) {
                    session.create_customer(number).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(created) = creating.join_next().await {
            created??;
        }
        Ok(())
    }

    async fn create_customer(&self, number: usize) -> anyhow::Result<()> {
        let client = &self.customers[number % self.customers.len()];
        let id = self.ids[number];
        let body = format!(r#"{{"id":"{id}","name":"Customer {number}","creditLimit":{CREDIT}}}"#);
        let begin = self.now();
        loop {
            ensure!(!self.is_stopped(), "stopped");
            let answer = client
                .post(Uri::from_static("/api/customers"), body.clone())
                .await?;
            match answer.status {
                201 => return Ok(()),
                503 if self.now() < begin + RETRIED_FOR => tokio::time::sleep(RETRY).await,
                _ => bail!("a new customer was answered {}", answer.told()),
            }
        }
    }

    /// Whether what customers have reserved is the sum of what was shipped to them: a fault each.
    pub async fn wrong_credit(&self) -> anyhow::Result<Vec<String>> {
        let expected = self.ledger.borrow().reserved(self.ids.len());
        let begin = self.now();
        let mut faults = Vec::new();
        for (number, expected) in expected.into_iter().enumerate().take(LOOKED_AT) {
            let client = &self.customers[number % self.customers.len()];
            let id = self.ids[number];
            loop {
                let answer = client.get(format!("/api/customers/{id}").try_into()?).await?;
                let read: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                let reserved = read["reserved"]
                    .as_f64()
                    .with_context(|| format!("a customer was answered {}", answer.told()))?;
                if (reserved * 100.0).round() as u64 == expected {
                    break;
                }
                // What was cancelled comes back a little later.
                if self.now() > begin + RELEASED_WITHIN || !self.sleep(LOOK).await {
                    let due = expected as f64 / 100.0;
                    faults.push(format!(
                        "{reserved} of the credit of {id} is reserved, where {due} was shipped"
                    ));
                    break;
                }
            }
        }
        Ok(faults)
    }
}

fn told(answer: anyhow::Result<Answer>) -> String {
    match answer {
        Ok(answer) => answer.told(),
        Err(error) => format!("nothing: {error:#}"),
    }
}

/// Whether an order that was refused so may be stored all the same: not where the answer has a code
/// that says no.
fn is_unknown(answer: &Answer) -> bool {
    let says = |code: &str| {
        let mut parts = answer.body.windows(code.len());
        parts.any(|part| part == code.as_bytes())
    };
    !says("overloaded") && !says("database-unavailable")
}
