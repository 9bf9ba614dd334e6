//! What the two databases say, read as they were at one moment (a snapshot session over both),
//! streamed in the order of ids: orders and reservations meet by merging, none is held.

use contracts::{CancelReason, CustomerId, OrderId, OrderStatus, Refusal};
use mongodb::{
    Client, ClientSession, SessionCursor,
    bson::{Document, RawDocumentBuf, deserialize_from_slice, doc},
};
use serde::{Deserialize, de::DeserializeOwned};
use shared::{environment::Timestamp, events::EventId, money::Money};
use uuid::Uuid;

use super::differences::{Differences, Invariant};

/// An order, as far as it is checked.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderRow {
    /// Its id.
    #[serde(rename = "_id")]
    pub id: OrderId,
    /// Who ordered.
    pub customer_id: CustomerId,
    /// What it costs.
    pub amount: Money,
    /// Where it is on its way.
    pub status: OrderStatus,
    /// Why it is cancelled.
    #[serde(default)]
    pub reason: Option<CancelReason>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// Events not yet known to be in the log.
    #[serde(default)]
    pub outbox: Vec<Pending>,
}

/// A reservation, as far as it is checked.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReservationRow {
    /// The order.
    #[serde(rename = "_id")]
    pub id: OrderId,
    /// Who ordered.
    pub customer_id: CustomerId,
    /// How much.
    pub amount: Money,
    /// How it stands.
    pub state: ReservationState,
    /// Why it was refused.
    #[serde(default)]
    pub reason: Option<Refusal>,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// Events not yet known to be in the log.
    #[serde(default)]
    pub outbox: Vec<Pending>,
}

/// How a reservation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum ReservationState {
    /// The amount is set aside.
    Held,
    /// It was, until the order was cancelled.
    Released,
    /// There was too little credit, or no such customer.
    Refused,
    /// The order was cancelled before it was seen.
    Void,
}

/// A customer, as far as it is checked.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CustomerRow {
    /// Its id.
    #[serde(rename = "_id")]
    pub id: CustomerId,
    /// Credit granted.
    pub credit_limit: Money,
    /// What it was created with.
    pub initial_credit_limit: Money,
    /// What it has reserved.
    pub reserved: Money,
    /// How often the limit was changed.
    pub limit_changes: i64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// Events not yet known to be in the log.
    #[serde(default)]
    pub outbox: Vec<Pending>,
}

/// An event in an outbox.
#[derive(Clone, Debug, Deserialize)]
pub struct Pending {
    /// Its id.
    #[serde(rename = "_id")]
    pub id: EventId,
}

/// Where a service's documents are.
#[derive(Clone, Debug)]
pub struct Databases {
    /// Of Customers.
    pub customers: String,
    /// Of Orders.
    pub orders: String,
}

/// Both databases at one moment.
pub struct Snapshot {
    client: Client,
    session: ClientSession,
    names: Databases,
}

impl Snapshot {
    /// Takes the snapshot. The server keeps it for five minutes, unless told otherwise.
    pub async fn take(client: &Client, names: &Databases) -> mongodb::error::Result<Snapshot> {
        let mut session = client.start_session().snapshot(true).await?;
        // The first read settles the moment.
        let customers = client
            .database(&names.customers)
            .collection::<Document>("customers");
        customers.find_one(doc! {}).session(&mut session).await?;
        Ok(Snapshot {
            client: client.clone(),
            session,
            names: names.clone(),
        })
    }

    /// Each customer, in order of id.
    pub async fn customers(
        &mut self,
        found: &mut Differences,
        mut take: impl FnMut(CustomerRow, &mut Differences),
    ) -> mongodb::error::Result<()> {
        let mut rows = self.rows("customers", "customers").await?;
        while let Some(row) = rows.next(&mut self.session, found).await? {
            take(row, found);
        }
        Ok(())
    }

    /// Each order with its reservation, and each reservation without an order, in order of id.
    pub async fn sagas(
        &mut self,
        found: &mut Differences,
        mut take: impl FnMut(Uuid, Option<OrderRow>, Option<ReservationRow>, &mut Differences),
    ) -> mongodb::error::Result<()> {
        let mut orders = self.rows::<OrderRow>("orders", "orders").await?;
        let mut reservations = self.rows::<ReservationRow>("customers", "reservations").await?;
        let mut order = orders.next(&mut self.session, found).await?;
        let mut reservation = reservations.next(&mut self.session, found).await?;
        loop {
            // A binary of one length and subtype is ordered by its bytes, as a UUID is here.
            let id = match (&order, &reservation) {
                (None, None) => return Ok(()),
                (Some(order), None) => order.id.0,
                (None, Some(reservation)) => reservation.id.0,
                (Some(order), Some(reservation)) => order.id.0.min(reservation.id.0),
            };
            let this_order = order.take_if(|order| order.id.0 == id);
            if this_order.is_some() {
                order = orders.next(&mut self.session, found).await?;
            }
            let this_reservation = reservation.take_if(|reservation| reservation.id.0 == id);
            if this_reservation.is_some() {
                reservation = reservations.next(&mut self.session, found).await?;
            }
            take(id, this_order, this_reservation, found);
        }
    }

    async fn rows<T>(&mut self, service: &str, collection: &str) -> mongodb::error::Result<Rows<T>> {
        let database = match service {
            "orders" => &self.names.orders,
            _ => &self.names.customers,
        };
        let name = format!("{database}.{collection}");
        let documents = self
            .client
            .database(database)
            .collection::<RawDocumentBuf>(collection);
        // What may be long and is not checked stays where it is.
        let cursor = documents
            .find(doc! {})
            .sort(doc! { "_id": 1 })
            .projection(doc! { "context": 0, "name": 0, "outbox.data": 0 })
            .session(&mut self.session)
            .await?;
        Ok(Rows {
            name,
            cursor,
            row: std::marker::PhantomData,
        })
    }
}

struct Rows<T> {
    name: String,
    cursor: SessionCursor<RawDocumentBuf>,
    row: std::marker::PhantomData<T>,
}

impl<T: DeserializeOwned> Rows<T> {
    /// The next document that can be read; one that cannot is a difference.
    async fn next(
        &mut self,
        session: &mut ClientSession,
        found: &mut Differences,
    ) -> mongodb::error::Result<Option<T>> {
        while self.cursor.advance(session).await? {
            match deserialize_from_slice(self.cursor.current().as_bytes()) {
                Ok(row) => return Ok(Some(row)),
                Err(error) => {
                    let id = self.cursor.current().get("_id").ok().flatten();
                    let about = format!("document {id:?}");
                    let fault = format!("cannot be read: {error}; look at {}", self.name);
                    found.check(Invariant::StoredIsSent, about, Some(fault));
                }
            }
        }
        Ok(None)
    }
}
