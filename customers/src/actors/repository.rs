//! What the RepositoryActor of Customers is asked to do, each command beside its decision.
//!
//! A round is one transaction: a customer's sum and its reservations change together or not at all.

use contracts::{CustomerId, OrderCreated, OrderId};
use shared::{
    actors::repository::{Command, Copies, CopiesOf, Parking, Workspace},
    document_store::{DocumentKey, key},
    envelope::{Context, OutboxEvent},
    environment::Timestamp,
    logging::Step,
    money::Money,
    mutants::{self, Mutant},
};

use crate::domain::{self, Creation, Customer, Decision, NewCustomer, Release, Reservation};

/// The actor, with the documents of this service.
pub type RepositoryActor = shared::actors::repository::RepositoryActor<CustomersWorkspace>;

const ACTOR: &str = "RepositoryActor";

/// The documents of a round.
#[derive(Default)]
pub struct CustomersWorkspace {
    customers: CopiesOf<Customer>,
    reservations: CopiesOf<Reservation>,
    parked: Parking,
}

impl Workspace for CustomersWorkspace {
    const ATOMIC: bool = true;
    fn collections(&mut self) -> Vec<&mut dyn Copies> {
        let mut collections: Vec<&mut dyn Copies> = vec![&mut self.customers, &mut self.reservations];
        collections.extend(self.parked.collections());
        collections
    }
    fn parked(&mut self) -> &mut Parking {
        &mut self.parked
    }
}

/// Creates a customer.
#[derive(Debug, Clone)]
pub struct CreateCustomer {
    /// As asked for.
    pub new: NewCustomer,
    /// The request.
    pub context: Context,
}

impl Command for CreateCustomer {
    type Workspace = CustomersWorkspace;
    type Reply = Creation;

    fn documents(&self) -> Vec<DocumentKey> {
        vec![key::<Customer>(self.new.id)]
    }

    fn expects_to_create(&self) -> Option<DocumentKey> {
        Some(key::<Customer>(self.new.id))
    }

    fn decide(&self, documents: &mut CustomersWorkspace, now: Timestamp) -> Creation {
        let creation = domain::create(documents.customers.get(self.new.id), &self.new, now);
        if let Creation::Created(customer, event) = &creation {
            let id = customer.id;
            let event = OutboxEvent::new(event, id, 1, crate::NAME, now, &self.context);
            documents.customers.put(customer.clone(), [event]);
        }
        creation
    }

    fn committed(&self, creation: &Creation) {
        let step =
            Step::about("customer_id", &self.new.id).with("correlation_id", &self.context.correlation_id);
        let what = match creation {
            Creation::Created(..) => "customer created",
            Creation::Repeated(_) => "customer known already, answered again",
            Creation::Contradicts(_) => "customer refused: another one has this id",
        };
        step.with("credit_limit", &self.new.credit_limit).log(
            log::Level::Info,
            ACTOR,
            format_args!("{what}"),
        );
    }
}

/// Changes a customer's credit limit; answers the customer, if there is one.
#[derive(Debug, Clone)]
pub struct ChangeCreditLimit {
    /// Whose.
    pub customer_id: CustomerId,
    /// From now on.
    pub credit_limit: Money,
    /// The request.
    pub context: Context,
}

impl Command for ChangeCreditLimit {
    type Workspace = CustomersWorkspace;
    type Reply = Option<Customer>;

    fn documents(&self) -> Vec<DocumentKey> {
        vec![key::<Customer>(self.customer_id)]
    }

    fn decide(&self, documents: &mut CustomersWorkspace, now: Timestamp) -> Option<Customer> {
        let id = self.customer_id;
        let customer = documents.customers.get(id)?.clone();
        let Some((changed, event)) = domain::change_credit_limit(&customer, self.credit_limit, now) else {
            return Some(customer);
        };
        let event = OutboxEvent::new(&event, id, changed.limit_changes, crate::NAME, now, &self.context);
        documents.customers.put(changed.clone(), [event]);
        Some(changed)
    }

    fn committed(&self, reply: &Option<Customer>) {
        let what = if reply.is_some() {
            "credit limit is set"
        } else {
            "credit limit refused: unknown customer"
        };
        Step::about("customer_id", &self.customer_id)
            .with("credit_limit", &self.credit_limit)
            .with("correlation_id", &self.context.correlation_id)
            .log(log::Level::Info, ACTOR, format_args!("{what}"));
    }
}

/// Decides whether there is credit for an order.
#[derive(Debug, Clone)]
pub struct ReserveCredit {
    /// The order.
    pub order: OrderCreated,
    /// The event that asks.
    pub context: Context,
}

impl Command for ReserveCredit {
    type Workspace = CustomersWorkspace;
    type Reply = Decision;

    fn documents(&self) -> Vec<DocumentKey> {
        vec![
            key::<Customer>(self.order.customer_id),
            key::<Reservation>(self.order.id),
        ]
    }

    fn expects_to_create(&self) -> Option<DocumentKey> {
        Some(key::<Reservation>(self.order.id))
    }

    fn decide(&self, documents: &mut CustomersWorkspace, now: Timestamp) -> Decision {
        let OrderCreated { id, customer_id, .. } = self.order;
        let customer = documents.customers.get(customer_id);
        let customer = customer.filter(|_| !mutants::is_active(Mutant::RefuseEverybody));
        let known = documents.reservations.get(id);
        let decision = domain::reserve(customer, known, &self.order, &self.context, now);
        let reservation = match &decision {
            Decision::Reserved(customer, reservation) => {
                documents.customers.put(customer.clone(), []);
                reservation
            }
            Decision::Refused(reservation) | Decision::Known(reservation) => reservation,
        };
        if let Some(said) = reservation.validation() {
            let Reservation {
                decided_at, context, ..
            } = reservation;
            let restamped = mutants::is_active(Mutant::RestampEvent).then_some(now);
            let event = OutboxEvent::new(
                &said,
                id,
                1,
                crate::NAME,
                restamped.unwrap_or(*decided_at),
                context,
            );
            documents.reservations.put(reservation.clone(), [event]);
        }
        decision
    }

    fn committed(&self, decision: &Decision) {
        let (what, reservation) = match decision {
            Decision::Reserved(_, reservation) => ("credit reserved", reservation),
            Decision::Refused(reservation) => ("credit refused", reservation),
            Decision::Known(reservation) => ("reservation known already, answered again", reservation),
        };
        Step::about("order_id", &self.order.id)
            .with("customer_id", &self.order.customer_id)
            .with("amount", &self.order.amount)
            .with_some("reason", &reservation.reason)
            .with("correlation_id", &self.context.correlation_id)
            .log(log::Level::Info, ACTOR, format_args!("{what}"));
    }
}

/// Gives back what is held for a cancelled order.
#[derive(Debug, Clone)]
pub struct ReleaseCredit {
    /// The order.
    pub order_id: OrderId,
    /// Who ordered.
    pub customer_id: CustomerId,
    /// The event that says so.
    pub context: Context,
}

impl Command for ReleaseCredit {
    type Workspace = CustomersWorkspace;
    type Reply = Release;

    fn documents(&self) -> Vec<DocumentKey> {
        vec![
            key::<Customer>(self.customer_id),
            key::<Reservation>(self.order_id),
        ]
    }

    fn decide(&self, documents: &mut CustomersWorkspace, now: Timestamp) -> Release {
        let customer = documents.customers.get(self.customer_id);
        let known = documents.reservations.get(self.order_id);
        let order = (self.order_id, self.customer_id);
        let release = domain::release(customer, known, order, &self.context, now);
        match &release {
            Release::Released(customer, reservation) => {
                documents.customers.put(customer.clone(), []);
                documents.reservations.put(reservation.clone(), []);
            }
            Release::Voided(reservation) => documents.reservations.put(reservation.clone(), []),
            Release::Nothing => {}
        }
        release
    }

    fn committed(&self, release: &Release) {
        let what = match release {
            Release::Released(..) => "credit released",
            Release::Voided(_) => "order cancelled before it was seen: it will not be reserved",
            Release::Nothing => "nothing held, nothing released",
        };
        Step::about("order_id", &self.order_id)
            .with("customer_id", &self.customer_id)
            .with("correlation_id", &self.context.correlation_id)
            .log(log::Level::Info, ACTOR, format_args!("{what}"));
    }
}
