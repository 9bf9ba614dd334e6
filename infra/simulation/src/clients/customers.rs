//! What clients ask of Customers.

use ::customers::{
    Customers,
    domain::{self as credit, Customer, NewCustomer},
};
use contracts::CustomerId;
use shared::money::Money;

use super::{Client, TRIES};
use crate::{instance::Instance, invariants::Invariant};

impl Client {
    /// The same whenever it is asked for.
    pub(super) fn new_customer(&self, id: CustomerId) -> NewCustomer {
        let credit_limit = Money::units(50 + i64::from(id.0.as_bytes()[0]));
        self.cluster.note(|asked| asked.customers.insert(id));
        NewCustomer {
            id,
            // Some have long names.
            name: match id.0.as_bytes()[1] {
                0..64 => format!("customer {id} {}", "of great renown ".repeat(60)),
                _ => format!("customer {id}"),
            },
            credit_limit,
        }
    }

    pub(super) async fn post_customer(
        &self,
        instance: &Instance<Customers>,
        new: NewCustomer,
    ) -> Option<credit::Creation> {
        let context = self.context();
        let answer =
            instance.ask(move |api| Box::pin(async move { api.endpoints.create(new, true, context).await }));
        answer.await?.ok()
    }

    pub(super) async fn create_customer(&self, id: CustomerId) {
        let new = self.new_customer(id);
        for answer in 0..TRIES {
            let instance = self.chance.pick(&self.cluster.customers);
            match self.post_customer(instance, new.clone()).await {
                Some(credit::Creation::Created(..) | credit::Creation::Repeated(_)) => return,
                Some(credit::Creation::Contradicts(other)) => {
                    let expected = format!("{id} is answered as the first time");
                    let found = format!("it contradicts {other:?}");
                    return self.cluster.violated(Invariant::StoredIsSent, expected, found);
                }
                None if self.gives_up() => return,
                None => self.before_the_next_try(answer).await,
            }
        }
    }

    pub(super) async fn change_limit(&self, customer_id: CustomerId) {
        let credit_limit = Money::units(i64::try_from(self.chance.below(400)).unwrap_or(0));
        for answer in 0..TRIES {
            let context = self.context();
            let instance = self.chance.pick(&self.cluster.customers);
            let asked = instance.ask(move |api| {
                Box::pin(async move {
                    let endpoints = api.endpoints;
                    endpoints
                        .change_credit_limit(customer_id, credit_limit, context)
                        .await
                })
            });
            let answered: Option<Option<Customer>> = asked.await.and_then(Result::ok);
            match answered {
                Some(Some(customer)) if customer.credit_limit != credit_limit => {
                    let expected = format!("the limit of {customer_id} is answered as {credit_limit}");
                    return self.cluster.violated(
                        Invariant::ReadsGoForward,
                        expected,
                        customer.credit_limit.to_string(),
                    );
                }
                Some(_) => return,
                None if self.gives_up() => return,
                None => self.before_the_next_try(answer).await,
            }
        }
    }
}
