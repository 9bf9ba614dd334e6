//! What HTTP endpoints ask of the actors.

use actix::Recipient;
use contracts::CustomerId;
use shared::{
    actors::repository::{Execute, Found},
    admission::{Admission, AskError, Reader},
    document_store::{IndexValue, PageQuery},
    envelope::Context,
    money::Money,
    service::Kit,
};
use uuid::Uuid;

use super::commands::{ChangeCreditLimit, CreateCustomer};
use crate::{
    documents::CustomersWorkspace,
    domain::{self, Creation, Customer, NewCustomer, Reservation},
};

/// The actors that HTTP endpoints ask, and what it takes to be let in.
#[derive(Clone)]
pub struct Endpoints {
    admission: Admission,
    create: Recipient<Execute<CreateCustomer>>,
    change_credit_limit: Recipient<Execute<ChangeCreditLimit>>,
    customers: Reader<Customer>,
    reservations: Reader<Reservation>,
}

impl Endpoints {
    pub(super) fn new(kit: &Kit<CustomersWorkspace>) -> Endpoints {
        let repository = &kit.repository;
        Endpoints {
            admission: kit.admission.clone(),
            create: repository.clone().recipient(),
            change_credit_limit: repository.clone().recipient(),
            customers: kit.reader(),
            reservations: kit.reader(),
        }
    }

    /// Creates a customer if there is a place for the command. If there is none, a customer that is
    /// stored already is answered all the same: its caller repeats it because the first answer was
    /// lost. `named`: whether the id came from the caller.
    pub async fn create(
        &self,
        new: NewCustomer,
        named: bool,
        context: Context,
    ) -> Result<Creation, AskError> {
        if let Ok(admitted) = self.admission.admit() {
            let command = CreateCustomer { new, context };
            return admitted.execute(&self.create, command).await;
        }
        let known = match named {
            true => self.customers.look_up(new.id).await?,
            // Nobody can have used an id that was made a moment ago.
            false => None,
        };
        match known {
            Some(customer) => Ok(domain::create_again(&customer, &new)),
            None => Err(AskError::Full),
        }
    }

    /// Changes a customer's credit limit; the customer, if there is one.
    pub async fn change_credit_limit(
        &self,
        customer_id: CustomerId,
        credit_limit: Money,
        context: Context,
    ) -> Result<Option<Customer>, AskError> {
        let command = ChangeCreditLimit {
            customer_id,
            credit_limit,
            context,
        };
        self.admission.execute(&self.change_credit_limit, command).await
    }

    /// One customer.
    pub async fn find(&self, id: Uuid) -> Result<Found<Customer>, AskError> {
        self.customers.find(id).await
    }

    /// A page of customers, the newest first.
    pub async fn list(&self, page: PageQuery) -> Result<Found<Customer>, AskError> {
        self.customers.page(page, vec![]).await
    }

    /// A page of a customer's reservations, the newest first.
    pub async fn reservations(
        &self,
        of: CustomerId,
        page: PageQuery,
    ) -> Result<Found<Reservation>, AskError> {
        let matching = vec![("customerId", vec![IndexValue::Uuid(of.0)])];
        self.reservations.page(page, matching).await
    }
}
