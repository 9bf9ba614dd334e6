//! Orders over HTTP: the resources, and the route of the C# services.

use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use contracts::{CancelReason, CustomerId, OrderId, OrderStatus};
use serde::Serialize;
use shared::{
    environment::Timestamp,
    http::{Body, Page, Parameters, Problem, RequestContext, Wait, path_id, requested_id, the_one},
    json::Amount,
    money::Money,
    saga::Full,
};
use uuid::Uuid;

use crate::{
    actors::{Endpoints, endpoints::NotCreated},
    domain::{Change, Creation, NewOrder, Order},
};

type Answer = Result<HttpResponse, Problem>;

/// `POST /api/orders`
pub async fn create(
    api: web::Data<Endpoints>,
    request: HttpRequest,
    context: RequestContext,
    body: Body,
) -> Answer {
    let (order, wait) = new_order(&api, &request, context, &body).await?;
    let location = format!("/api/orders/{}", order.id);
    let mut answer = answer(&api, order, wait, HttpResponse::Created).await;
    answer.0.insert_header(("location", location));
    Ok(answer.0.json(answer.1))
}

/// `POST /api/Orders/NewOrder`
pub async fn create_as_in_csharp(
    api: web::Data<Endpoints>,
    request: HttpRequest,
    context: RequestContext,
    body: Body,
) -> Answer {
    let (order, wait) = new_order(&api, &request, context, &body).await?;
    let mut answer = answer(&api, order, wait, HttpResponse::Ok).await;
    Ok(answer.0.json(answer.1))
}

async fn new_order(
    api: &Endpoints,
    request: &HttpRequest,
    RequestContext(context): RequestContext,
    body: &Body,
) -> Result<(Order, Option<Wait>), Problem> {
    let mut parameters = Parameters::of(request);
    let wait = parameters.wait(request);
    parameters.finish()?;
    let mut fields = body.fields()?;
    let id = fields.optional::<Uuid>("id");
    let customer_id = fields.required::<CustomerId>("customerId");
    let amount = fields.required::<Amount>("amount");
    let (Some(id), Some(customer_id), Some(amount)) = (id, customer_id, amount) else {
        return Err(Problem::invalid(fields.into_errors()));
    };
    let named = requested_id(request, id)?;
    let id = OrderId(named.unwrap_or_else(Uuid::now_v7));
    let new = NewOrder {
        id,
        customer_id,
        amount,
    };
    let creation = api.create(new, named.is_some(), context).await;
    match creation.map_err(|why| not_created(why).about(id))? {
        Creation::Created(order) => Ok((order, wait)),
        Creation::Repeated(order) => Ok((order, wait)),
        Creation::Contradicts(_) => {
            let detail = format!("the id {id} is that of another order, with another customer or amount");
            Err(Problem::conflict("id-taken", detail).about(id))
        }
    }
}

fn not_created(why: NotCreated) -> Problem {
    let (limit, whose) = match why {
        NotCreated::Ask(error) => return error.into(),
        NotCreated::TooManyOpen(Full::All) => ("MAX_OPEN_ORDERS", "in all"),
        NotCreated::TooManyOpen(Full::OfKey) => ("MAX_OPEN_ORDERS_PER_CUSTOMER", "of this customer"),
    };
    Problem {
        detail: format!(
            "too many orders {whose} are not final yet ({limit}); this request stored nothing, try again later"
        ),
        ..Problem::overloaded()
    }
}

/// The order once it is final. As it is, with 202, where it is not final in time.
async fn answer(
    api: &Endpoints,
    order: Order,
    wait: Option<Wait>,
    done: fn() -> HttpResponseBuilder,
) -> (HttpResponseBuilder, OrderView) {
    let Some(Wait { patience, applied }) = wait else {
        return (done(), show(&order));
    };
    let told = match order.status.is_final() {
        true => Some(order.clone()),
        false => api.until_final(order.id, patience).await,
    };
    let (mut response, order) = match told {
        Some(order) => (done(), order),
        None => (HttpResponse::Accepted(), order),
    };
    if let Some(applied) = applied {
        response.insert_header(("preference-applied", applied));
    }
    (response, show(&order))
}

/// `GET /api/orders/{id}`
pub async fn get(api: web::Data<Endpoints>, request: HttpRequest) -> Answer {
    let mut parameters = Parameters::of(&request);
    let wait = parameters.wait(&request);
    parameters.finish()?;
    let id = path_id(&request)?;
    let order = the_one(api.find(id).await?, "order", id)?;
    let (mut response, order) = answer(&api, order, wait, HttpResponse::Ok).await;
    Ok(response.json(order))
}

/// `GET /api/orders`
pub async fn list(api: web::Data<Endpoints>, request: HttpRequest) -> Answer {
    let mut parameters = Parameters::of(&request);
    let page = parameters.page();
    let customer = parameters.uuid("customerId");
    let status = parameters.take("status", "Created, Shipped or Cancelled", |text| {
        OrderStatus::parse(text).ok_or_else(|| "is no order status".into())
    });
    parameters.finish()?;
    let found = api.list(customer, status, page).await?;
    Ok(HttpResponse::Ok().json(Page::of(found, show)))
}

/// `POST /api/orders/{id}/cancel`
pub async fn cancel(
    api: web::Data<Endpoints>,
    request: HttpRequest,
    RequestContext(context): RequestContext,
    _body: Body,
) -> Answer {
    Parameters::of(&request).finish()?;
    let order_id = OrderId(path_id(&request)?);
    let change = api.cancel(order_id, context).await;
    match change.map_err(|error| Problem::from(error).about(order_id))? {
        Change::Finished(order, _) => Ok(HttpResponse::Ok().json(show(&order))),
        Change::AlreadyFinal(order) => {
            let detail = format!(
                "the order {order_id} is {} and stays so",
                order.status.as_str().to_lowercase()
            );
            Err(Problem::conflict("order-is-final", detail).about(order_id))
        }
        Change::Unknown => Err(Problem::not_found("order", order_id)),
    }
}

/// An order, as it is answered.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OrderView {
    id: OrderId,
    customer_id: CustomerId,
    amount: Money,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<CancelReason>,
    created_at: Timestamp,
    updated_at: Timestamp,
    correlation_id: String,
}

fn show(order: &Order) -> OrderView {
    OrderView {
        id: order.id,
        customer_id: order.customer_id,
        amount: order.amount,
        status: order.status.as_str(),
        reason: order.reason,
        created_at: order.created_at,
        updated_at: order.updated_at,
        correlation_id: order.context.correlation_id.clone(),
    }
}
