//! The rules of Shipping: pure and synchronous.

use contracts::{CustomerId, OrderId, OrderShipped, ShipmentPrepared};
use serde::{Deserialize, Serialize};
use shared::environment::Timestamp;

/// The shipment of an order, as it is stored; its id is that of the order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shipment {
    #[serde(rename = "_id")]
    pub id: OrderId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<CustomerId>,
    pub tracking_number: String,
    pub prepared_at: Timestamp,
}

/// The tracking number follows from the order, so it is the same however often the order is heard of.
pub fn prepare(order: &OrderShipped, prefix: &str, now: Timestamp) -> Shipment {
    let number = order.id.0.as_u128() % 10u128.pow(12);
    Shipment {
        id: order.id,
        customer_id: order.customer_id,
        tracking_number: format!("{prefix}{number:012}"),
        prepared_at: now,
    }
}

impl Shipment {
    pub fn prepared(&self) -> ShipmentPrepared {
        ShipmentPrepared {
            order_id: self.id,
            customer_id: self.customer_id,
            tracking_number: self.tracking_number.clone(),
        }
    }
}
