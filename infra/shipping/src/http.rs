//! The HTTP side of Shipping: translates requests into messages for the actors, and nothing else.

use actix_web::{HttpRequest, HttpResponse, web};
use contracts::{CustomerId, OrderId};
use serde::Serialize;
use shared::{
    admission::Reader,
    environment::Timestamp,
    http::{Parameters, Problem, path_id, resource, the_one},
};

use crate::domain::Shipment;

pub fn routes(config: &mut web::ServiceConfig) {
    config.service(resource("/api/shipments/{id}", "GET").get(get));
}

async fn get(shipments: web::Data<Reader<Shipment>>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    Parameters::of(&request).finish()?;
    let order = path_id(&request)?;
    let shipment = the_one(shipments.find(order).await?, "shipment of the order", order)?;
    Ok(HttpResponse::Ok().json(ShipmentView {
        order_id: shipment.id,
        customer_id: shipment.customer_id,
        tracking_number: shipment.tracking_number,
        prepared_at: shipment.prepared_at,
    }))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShipmentView {
    order_id: OrderId,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_id: Option<CustomerId>,
    tracking_number: String,
    prepared_at: Timestamp,
}
