//! What HTTP endpoints ask of the actors.

use std::time::Duration;

use actix::Recipient;
use contracts::{OrderId, OrderStatus};
use shared::{
    actors::repository::{Execute, Found},
    admission::{Admission, AskError, Reader},
    document_store::{IndexValue, PageQuery},
    envelope::Context,
    saga::{Full, Sagas},
    service::Kit,
};
use uuid::Uuid;

use super::commands::{CancelOrder, CreateOrder};
use crate::{
    documents::OrdersWorkspace,
    domain::{self, Change, Creation, NewOrder, Order},
};

/// The actors that HTTP endpoints ask, and what it takes to be let in.
#[derive(Clone)]
pub struct Endpoints {
    admission: Admission,
    create: Recipient<Execute<CreateOrder>>,
    cancel: Recipient<Execute<CancelOrder>>,
    orders: Reader<Order>,
    sagas: Sagas<Order>,
}

/// Why an order was not created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotCreated {
    /// Too many are open; nothing was stored.
    TooManyOpen(Full),
    /// No answer.
    Ask(AskError),
}

impl From<AskError> for NotCreated {
    fn from(error: AskError) -> NotCreated {
        NotCreated::Ask(error)
    }
}

impl Endpoints {
    pub(super) fn new(kit: &Kit<OrdersWorkspace>, sagas: Sagas<Order>) -> Endpoints {
        let repository = &kit.repository;
        Endpoints {
            admission: kit.admission.clone(),
            create: repository.clone().recipient(),
            cancel: repository.clone().recipient(),
            orders: kit.reader(),
            sagas,
        }
    }

    /// Creates an order if there is a place for it. If there is none, an order that is stored already
    /// is answered all the same: its caller repeats it because the first answer was lost. `named`:
    /// whether the id came from the caller.
    pub async fn create(&self, new: NewOrder, named: bool, context: Context) -> Result<Creation, NotCreated> {
        let place = self.sagas.enter(new.customer_id).map_err(NotCreated::TooManyOpen);
        let admitted = place.and_then(|place| Ok((place, self.admission.admit()?)));
        let full = match admitted {
            Ok((place, admitted)) => {
                let command = CreateOrder { new, context };
                let creation = admitted.execute(&self.create, command).await?;
                if let Creation::Created(_) = creation {
                    place.keep();
                }
                return Ok(creation);
            }
            Err(full) => full,
        };
        let known = match named {
            true => self.orders.look_up(new.id).await?,
            // Nobody can have used an id that was made a moment ago.
            false => None,
        };
        match known {
            Some(order) => Ok(domain::create_again(&order, &new)),
            None => Err(full),
        }
    }

    /// Cancels an order on behalf of its customer.
    pub async fn cancel(&self, order_id: OrderId, context: Context) -> Result<Change, AskError> {
        let command = CancelOrder { order_id, context };
        let change = self.admission.execute(&self.cancel, command).await?;
        if let Change::Finished(order, _) = &change {
            self.sagas.is_final(order);
        }
        Ok(change)
    }

    /// One order.
    pub async fn find(&self, id: Uuid) -> Result<Found<Order>, AskError> {
        self.orders.find(id).await
    }

    /// A page of orders, the newest first.
    pub async fn list(
        &self,
        customer: Option<Uuid>,
        status: Option<OrderStatus>,
        page: PageQuery,
    ) -> Result<Found<Order>, AskError> {
        let statuses = status.map_or(OrderStatus::ALL.to_vec(), |status| vec![status]);
        let statuses = statuses
            .into_iter()
            .map(|status| IndexValue::Int(status.number()));
        let statuses = ("status", statuses.collect());
        let matching = match (customer, status) {
            (Some(customer), _) => vec![("customerId", vec![IndexValue::Uuid(customer)]), statuses],
            (None, Some(_)) => vec![statuses],
            (None, None) => vec![],
        };
        self.orders.page(page, matching).await
    }

    /// The order once it is final; `None` where the time is up before, or nobody may wait: the service
    /// is stopping, or too many wait already.
    pub async fn until_final(&self, id: OrderId, patience: Duration) -> Option<Order> {
        let told = self.sagas.until_final(id, patience);
        tokio::select! {
            biased;
            told = told => told,
            () = self.admission.lifecycle().stopping() => None,
        }
    }
}
