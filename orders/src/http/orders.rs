//! Orders over HTTP: the resources, and the route of the C# services.

use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use contracts::{CancelReason, CustomerId, OrderId, OrderStatus};
use serde::Serialize;
use shared::{
    actors::repository::{Find, List},
    document_store::{Document, IndexValue},
    envelope::Context,
    environment::Timestamp,
    http::{
        Admission, Body, Page, Parameters, Problem, RequestContext, Wait, path_id, requested_id, the_one,
    },
    json::Amount,
    money::Money,
};
use uuid::Uuid;

use crate::{
    actors::{
        Endpoints,
        backlog::Full,
        order_watch::{AwaitFinal, OrderIsFinal},
        repository::{CancelOrder, CreateOrder},
    },
    domain::{self, Change, Creation, NewOrder, Order},
};

type Answer = Result<HttpResponse, Problem>;

/// What the routes work with.
#[derive(Clone)]
pub struct Api {
    /// Whom to ask.
    pub actors: Endpoints,
    /// How much at a time.
    pub admission: Admission,
}

/// `POST /api/orders`
pub async fn create(
    api: web::Data<Api>,
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
    api: web::Data<Api>,
    request: HttpRequest,
    context: RequestContext,
    body: Body,
) -> Answer {
    let (order, wait) = new_order(&api, &request, context, &body).await?;
    let mut answer = answer(&api, order, wait, HttpResponse::Ok).await;
    Ok(answer.0.json(answer.1))
}

async fn new_order(
    api: &Api,
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
    let creation = create_or_look_up(api, new, named.is_some(), context).await;
    match creation.map_err(|problem| problem.about(id))? {
        Creation::Created(order) => Ok((order, wait)),
        Creation::Repeated(order) => Ok((order, wait)),
        Creation::Contradicts(_) => {
            let detail = format!("the id {id} is that of another order, with another customer or amount");
            Err(Problem::conflict("id-taken", detail).about(id))
        }
    }
}

/// 503: too many orders are open.
fn too_many_open(full: Full) -> Problem {
    let (limit, whose) = match full {
        Full::All => ("MAX_OPEN_ORDERS", "in all"),
        Full::OfCustomer => ("MAX_OPEN_ORDERS_PER_CUSTOMER", "of this customer"),
    };
    Problem {
        detail: format!(
            "too many orders {whose} are not final yet ({limit}); this request stored nothing, try again later"
        ),
        ..Problem::overloaded()
    }
}

/// Creates an order if there is a place for it. If there is none, an order that is stored already is
/// answered all the same: its caller repeats it because the first answer was lost.
async fn create_or_look_up(
    api: &Api,
    new: NewOrder,
    named: bool,
    context: Context,
) -> Result<Creation, Problem> {
    let place = api.actors.backlog.enter(new.customer_id).map_err(too_many_open);
    let admitted = place.and_then(|place| Ok((place, api.admission.admit()?)));
    let full = match admitted {
        Ok((place, admitted)) => {
            let command = CreateOrder { new, context };
            let creation = admitted.execute(&api.actors.create, command).await?;
            if let Creation::Created(_) = creation {
                place.keep();
            }
            return Ok(creation);
        }
        Err(full) => full,
    };
    let known = match named {
        true => api.admission.look_up(&api.actors.find, new.id.0).await?,
        // Nobody can have used an id that was made a moment ago.
        false => None,
    };
    match known {
        Some(order) => Ok(domain::create_again(&order, &new)),
        None => Err(full),
    }
}

/// The order once it is final. As it is, with 202, where the time is up before, or nobody may wait:
/// the service is stopping, or too many wait already.
async fn answer(
    api: &Api,
    order: Order,
    wait: Option<Wait>,
    done: fn() -> HttpResponseBuilder,
) -> (HttpResponseBuilder, OrderView) {
    let Some(Wait { patience, applied }) = wait else {
        return (done(), show(&order));
    };
    let told = if order.status.is_final() {
        Some(order.clone())
    } else {
        let order_id = order.id;
        let told = api.actors.watch.send(AwaitFinal { order_id, patience });
        tokio::select! {
            biased;
            told = told => told.ok().flatten(),
            () = api.admission.lifecycle().stopping() => None,
        }
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
pub async fn get(api: web::Data<Api>, request: HttpRequest) -> Answer {
    let mut parameters = Parameters::of(&request);
    let wait = parameters.wait(&request);
    parameters.finish()?;
    let id = path_id(&request)?;
    let found = api
        .admission
        .ask(&api.actors.find, Find::<Order>::new([id]))
        .await?;
    let order = the_one(found, "order", id)?;
    let (mut response, order) = answer(&api, order, wait, HttpResponse::Ok).await;
    Ok(response.json(order))
}

/// `GET /api/orders`
pub async fn list(api: web::Data<Api>, request: HttpRequest) -> Answer {
    let mut parameters = Parameters::of(&request);
    let page = parameters.page();
    let customer = parameters.uuid("customerId");
    let status = parameters.take("status", "Created, Shipped or Cancelled", |text| {
        OrderStatus::parse(text).ok_or_else(|| "is no order status".into())
    });
    parameters.finish()?;
    let statuses = match status {
        Some(status) => vec![status],
        None => OrderStatus::ALL.to_vec(),
    };
    let statuses = (
        "status",
        statuses
            .into_iter()
            .map(|status| IndexValue::Int(status.number()))
            .collect(),
    );
    let matching = match (customer, status) {
        (Some(customer), _) => vec![("customerId", vec![IndexValue::Uuid(customer)]), statuses],
        (None, Some(_)) => vec![statuses],
        (None, None) => vec![],
    };
    let query = page.query(Order::COLLECTION.name, matching);
    let found = api
        .admission
        .ask(&api.actors.list, List::<Order>::new(query))
        .await?;
    Ok(HttpResponse::Ok().json(Page::of(found, show)))
}

/// `POST /api/orders/{id}/cancel`
pub async fn cancel(
    api: web::Data<Api>,
    request: HttpRequest,
    RequestContext(context): RequestContext,
    _body: Body,
) -> Answer {
    Parameters::of(&request).finish()?;
    let order_id = OrderId(path_id(&request)?);
    let answer = api
        .admission
        .execute(&api.actors.cancel, CancelOrder { order_id, context })
        .await;
    match answer.map_err(|problem| problem.about(order_id))? {
        Change::Finished(order, _) => {
            api.actors.finished.do_send(OrderIsFinal(order.clone()));
            Ok(HttpResponse::Ok().json(show(&order)))
        }
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
