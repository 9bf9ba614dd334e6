//! Batches of sagas: what Orders and Customers write of an order from its creation to its end.

use std::rc::Rc;

use anyhow::{Context as _, bail, ensure};
use contracts::{CustomerId, OrderId};
use customers::domain::{Customer, Decision, NewCustomer, Reservation};
use mongodb::{
    Client as Mongo, Database,
    bson::{Document as Bson, RawDocumentBuf},
    options::{Acknowledgment, TransactionOptions, WriteConcern},
};
use orders::domain::{Change, Creation, Final, NewOrder, Order};
use shared::{
    document_store::{
        Document, DocumentStore, encode,
        mongo::{MongoSettings, MongoStore},
    },
    envelope::{Context, OutboxEvent},
    environment::{Environment, Timestamp},
    money::Money,
};
use uuid::Uuid;

use super::{records::Records, statements};
use crate::workload::CREDIT;

/// One that has its customers for itself, so that no two transactions meet.
pub struct Worker {
    mongo: Mongo,
    orders: Database,
    customers: Database,
    records: Rc<Records>,
    environment: Environment,
    /// With their versions.
    known: Vec<(Customer, i64)>,
    next: usize,
}

/// Collections and indexes as the services make them.
pub async fn prepare(uri: &str, name: &str) -> anyhow::Result<()> {
    let open = |database| MongoStore::new(MongoSettings::new(uri, database));
    let (orders, customers) = (open(orders_of(name)).await?, open(customers_of(name)).await?);
    orders.prepare(vec![Order::COLLECTION]).await?;
    customers
        .prepare(vec![Customer::COLLECTION, Reservation::COLLECTION])
        .await?;
    Ok(())
}

/// Everything that was written.
pub async fn remove(mongo: &Mongo, name: &str) -> anyhow::Result<()> {
    mongo.database(&orders_of(name)).drop().await?;
    mongo.database(&customers_of(name)).drop().await?;
    Ok(())
}

fn orders_of(name: &str) -> String {
    format!("{name}-orders")
}

fn customers_of(name: &str) -> String {
    format!("{name}-customers")
}

impl Worker {
    /// With so many new customers.
    pub async fn new(
        mongo: &Mongo,
        name: &str,
        records: Rc<Records>,
        customers: usize,
    ) -> anyhow::Result<Worker> {
        let environment = Environment::real();
        let known: Vec<_> = (0..customers)
            .map(|number| {
                let new = NewCustomer {
                    id: CustomerId(Uuid::now_v7()),
                    name: format!("Customer {number}"),
                    credit_limit: Money::units(CREDIT.cast_signed()),
                };
                match customers::domain::create(None, &new, environment.now()) {
                    customers::domain::Creation::Created(customer, _) => Ok((customer, 1)),
                    _ => bail!("a new customer exists"),
                }
            })
            .collect::<anyhow::Result<_>>()?;
        let worker = Worker {
            mongo: mongo.clone(),
            orders: mongo.database(&orders_of(name)),
            customers: mongo.database(&customers_of(name)),
            records,
            environment,
            known,
            next: 0,
        };
        let commit = Uuid::now_v7();
        let documents = worker.known.iter();
        let documents = documents
            .map(|(customer, version)| encode(customer, *version, commit, &[]).map(RawDocumentBuf::from))
            .collect::<Result<Vec<_>, _>>()?;
        worker
            .write(
                &worker.customers,
                statements::insert("customers", &documents, true),
            )
            .await?;
        Ok(worker)
    }

    /// So many sagas, each write shared by all of them.
    pub async fn sagas(&mut self, count: usize) -> anyhow::Result<()> {
        let mut orders = Vec::with_capacity(count);
        let mut announcements = Vec::with_capacity(count);
        for number in 0..count {
            let customer = (self.next + number) % self.known.len();
            let (order, announcement) = self.new_order(customer)?;
            orders.push((customer, order));
            announcements.push(announcement);
        }
        self.next += count;
        let commit = Uuid::now_v7();
        let documents = encoded(orders.iter().map(|(_, order)| order), 1, commit, &announcements)?;
        self.write(&self.orders, statements::insert("orders", &documents, true))
            .await?;
        self.records.publish(&announcements).await?;

        let validations = self.reserve(&orders).await?;
        self.records.publish(&validations).await?;

        let now = self.environment.now();
        let mut ends = Vec::with_capacity(count);
        let mut documents = Vec::with_capacity(count);
        let commit = Uuid::now_v7();
        for (_, order) in &orders {
            let (order, end) = shipped(order, now)?;
            documents.push((
                order.id.0,
                1,
                encode(&order, 2, commit, std::slice::from_ref(&end))?.into(),
            ));
            ends.push(end);
        }
        self.write(&self.orders, statements::replace("orders", &documents, true))
            .await?;
        self.records.publish(&ends).await?;

        let ids: Vec<Uuid> = orders.iter().map(|(_, order)| order.id.0).collect();
        tokio::try_join!(
            self.write(&self.orders, statements::forget_outboxes("orders", 2, &ids)),
            self.write(
                &self.customers,
                statements::forget_outboxes("reservations", 1, &ids)
            ),
        )?;
        Ok(())
    }

    fn new_order(&self, customer: usize) -> anyhow::Result<(Order, OutboxEvent)> {
        let (new, now) = (
            NewOrder {
                id: OrderId(Uuid::now_v7()),
                customer_id: self.known[customer].0.id,
                amount: Money::units(50),
            },
            self.environment.now(),
        );
        let context = Context {
            correlation_id: Uuid::now_v7().to_string(),
            ..Context::default()
        };
        let Creation::Created(order) = orders::domain::create(None, &new, &context, now) else {
            bail!("a new order exists");
        };
        let (event, name) = (order.created(), orders::NAME);
        let event = OutboxEvent::new(&event, new.id, 1, name, now, &context);
        Ok((order, event))
    }

    /// In a transaction, as the sum that is reserved and its proof belong together.
    async fn reserve(&mut self, orders: &[(usize, Order)]) -> anyhow::Result<Vec<OutboxEvent>> {
        let now = self.environment.now();
        let commit = Uuid::now_v7();
        let mut touched = Vec::with_capacity(orders.len());
        let mut reservations = Vec::with_capacity(orders.len());
        let mut events = Vec::with_capacity(orders.len());
        for (number, order) in orders {
            let customer = &mut self.known[*number].0;
            let context = caused_by(order);
            let decision = customers::domain::reserve(Some(customer), None, &order.created(), &context, now);
            let Decision::Reserved(reserved, reservation) = decision else {
                bail!("a customer has run out of credit");
            };
            *customer = reserved;
            let said = reservation.validation().context("a reservation says nothing")?;
            let (id, name) = (order.id, customers::NAME);
            events.push(OutboxEvent::new(&said, id, 1, name, now, &context));
            reservations.push(reservation);
            touched.push(*number);
        }
        touched.sort_unstable();
        touched.dedup();
        let mut changed = Vec::with_capacity(touched.len());
        for number in touched {
            let (customer, version) = &mut self.known[number];
            changed.push((
                customer.id.0,
                *version,
                encode(customer, *version + 1, commit, &[])?.into(),
            ));
            *version += 1;
        }
        let reservations = encoded(reservations.iter(), 1, commit, &events)?;

        let mut session = self.mongo.start_session().await?;
        let durable = WriteConcern::builder()
            .w(Acknowledgment::Majority)
            .journal(true)
            .build();
        let options = TransactionOptions::builder().write_concern(durable).build();
        session.start_transaction().with_options(options).await?;
        for command in [
            statements::replace("customers", &changed, false),
            statements::insert("reservations", &reservations, false),
        ] {
            let reply = self
                .customers
                .run_raw_command(command)
                .session(&mut session)
                .await?;
            check(&reply)?;
        }
        session.commit_transaction().await?;
        Ok(events)
    }

    async fn write(&self, database: &Database, command: RawDocumentBuf) -> anyhow::Result<()> {
        check(&database.run_raw_command(command).await?)
    }
}

fn shipped(order: &Order, now: Timestamp) -> anyhow::Result<(Order, OutboxEvent)> {
    let validation = contracts::OrderValidated {
        order_id: order.id,
        is_valid: true,
        customer_id: Some(order.customer_id),
        amount: Some(order.amount),
        reason: None,
    };
    match orders::domain::apply_validation(Some(order), &validation, now) {
        Change::Finished(done, Final::Shipped(event)) => {
            let (id, name) = (order.id, orders::NAME);
            let event = OutboxEvent::new(&event, id, 2, name, now, &caused_by(order));
            Ok((done, event))
        }
        other => bail!("an order that was valid is {other:?}"),
    }
}

/// As long as the context of what another event has caused.
fn caused_by(order: &Order) -> Context {
    Context {
        causation_id: Some(order.id.to_string()),
        ..order.context.clone()
    }
}

fn encoded<'a, D: Document>(
    documents: impl Iterator<Item = &'a D>,
    version: i64,
    commit: Uuid,
    events: &[OutboxEvent],
) -> anyhow::Result<Vec<RawDocumentBuf>> {
    let each = documents.zip(events);
    let each = each
        .map(|(document, event)| Ok(encode(document, version, commit, std::slice::from_ref(event))?.into()));
    each.collect()
}

fn check(reply: &Bson) -> anyhow::Result<()> {
    let failed = ["writeErrors", "writeConcernError"]
        .iter()
        .find_map(|name| reply.get(name));
    ensure!(failed.is_none(), "mongod answered {failed:?}");
    Ok(())
}
