//! Customers over HTTP: the resources, and the routes of the C# services.

use actix_web::{HttpRequest, HttpResponse, web};
use contracts::{CustomerId, OrderId, Refusal};
use serde::Serialize;
use shared::{
    environment::Timestamp,
    http::{Body, Page, Parameters, Problem, RequestContext, path_id, requested_id, the_one},
    json::{DisplayName, Limit},
    money::Money,
};
use uuid::Uuid;

use crate::{
    actors::Endpoints,
    domain::{Creation, Customer, NewCustomer, Reservation, ReservationState},
};

type Answer = Result<HttpResponse, Problem>;

/// `POST /api/customers`
pub async fn create(
    api: web::Data<Endpoints>,
    request: HttpRequest,
    context: RequestContext,
    body: Body,
) -> Answer {
    let customer = new_customer(&api, &request, context, &body).await?;
    let location = format!("/api/customers/{}", customer.id);
    Ok(HttpResponse::Created()
        .insert_header(("location", location))
        .json(show(&customer)))
}

/// `POST /api/Customer/NewCustomer`
pub async fn create_as_in_csharp(
    api: web::Data<Endpoints>,
    request: HttpRequest,
    context: RequestContext,
    body: Body,
) -> Answer {
    let customer = new_customer(&api, &request, context, &body).await?;
    Ok(HttpResponse::Ok().json(show(&customer)))
}

async fn new_customer(
    api: &Endpoints,
    request: &HttpRequest,
    RequestContext(context): RequestContext,
    body: &Body,
) -> Result<Customer, Problem> {
    Parameters::of(request).finish()?;
    let mut fields = body.fields()?;
    let id = fields.optional::<Uuid>("id");
    let name = fields.required::<DisplayName>("name");
    let credit_limit = fields.required::<Limit>("creditLimit");
    let (Some(id), Some(name), Some(credit_limit)) = (id, name, credit_limit) else {
        return Err(Problem::invalid(fields.into_errors()));
    };
    let named = requested_id(request, id)?;
    let id = CustomerId(named.unwrap_or_else(Uuid::now_v7));
    let new = NewCustomer {
        id,
        name,
        credit_limit,
    };
    let creation = api.create(new, named.is_some(), context).await;
    match creation.map_err(|error| Problem::from(error).about(id))? {
        Creation::Created(customer, _) | Creation::Repeated(customer) => Ok(customer),
        // Not whose: who guesses an id must not learn a name.
        Creation::Contradicts(_) => {
            let detail =
                format!("the id {id} is that of another customer, with another name or credit limit");
            Err(Problem::conflict("id-taken", detail).about(id))
        }
    }
}

/// `PUT /api/customers/{id}/credit-limit` with `{"creditLimit": …}` or a bare number, and
/// `PUT /api/Customer/{id}` with a bare number.
pub async fn change_credit_limit(
    api: web::Data<Endpoints>,
    request: HttpRequest,
    RequestContext(context): RequestContext,
    body: Body,
) -> Answer {
    Parameters::of(&request).finish()?;
    let customer_id = CustomerId(path_id(&request)?);
    let credit_limit = match body.fields() {
        Ok(mut fields) => {
            let limit = fields.required::<Limit>("creditLimit");
            limit.ok_or_else(|| Problem::invalid(fields.into_errors()))?
        }
        Err(_) => body.value::<Limit>("creditLimit")?,
    };
    let changed = api.change_credit_limit(customer_id, credit_limit, context).await;
    match changed.map_err(|error| Problem::from(error).about(customer_id))? {
        Some(customer) => Ok(HttpResponse::Ok().json(show(&customer))),
        None => Err(Problem::not_found("customer", customer_id)),
    }
}

/// `GET /api/customers/{id}`
pub async fn get(api: web::Data<Endpoints>, request: HttpRequest) -> Answer {
    Parameters::of(&request).finish()?;
    let customer = find(&api, path_id(&request)?).await?;
    Ok(HttpResponse::Ok().json(show(&customer)))
}

/// `GET /api/customers`
pub async fn list(api: web::Data<Endpoints>, request: HttpRequest) -> Answer {
    let mut parameters = Parameters::of(&request);
    let page = parameters.page();
    parameters.finish()?;
    let found = api.list(page).await?;
    Ok(HttpResponse::Ok().json(Page::of(found, show)))
}

/// `GET /api/customers/{id}/reservations`
pub async fn reservations(api: web::Data<Endpoints>, request: HttpRequest) -> Answer {
    let mut parameters = Parameters::of(&request);
    let page = parameters.page();
    parameters.finish()?;
    let customer = find(&api, path_id(&request)?).await?;
    let found = api.reservations(customer.id, page).await?;
    Ok(HttpResponse::Ok().json(Page::of(found, show_reservation)))
}

async fn find(api: &Endpoints, id: Uuid) -> Result<Customer, Problem> {
    the_one(api.find(id).await?, "customer", id)
}

/// A customer, as it is answered.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CustomerView {
    id: CustomerId,
    name: String,
    credit_limit: Money,
    reserved: Money,
    available: Money,
    created_at: Timestamp,
    updated_at: Timestamp,
}

fn show(customer: &Customer) -> CustomerView {
    CustomerView {
        id: customer.id,
        name: customer.name.clone(),
        credit_limit: customer.credit_limit,
        reserved: customer.reserved,
        available: customer.available(),
        created_at: customer.created_at,
        updated_at: customer.updated_at,
    }
}

/// A reservation, as it is answered.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReservationView {
    order_id: OrderId,
    customer_id: CustomerId,
    amount: Money,
    state: ReservationState,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Refusal>,
    decided_at: Timestamp,
    updated_at: Timestamp,
}

fn show_reservation(reservation: &Reservation) -> ReservationView {
    ReservationView {
        order_id: reservation.id,
        customer_id: reservation.customer_id,
        amount: reservation.amount,
        state: reservation.state,
        reason: reservation.reason,
        decided_at: reservation.decided_at,
        updated_at: reservation.updated_at,
    }
}
