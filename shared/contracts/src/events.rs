//! The events on the topic: what each says, read tolerantly and written exactly.

use serde::Serialize;
use serde_json::value::RawValue;
use shared::{
    document_store::numbers,
    events::{About, Event},
    json::{Amount, DisplayName, FieldError, FieldType, Fields, Limit},
    money::Money,
};

use super::ids::{CancelReason, CustomerId, OrderId, Refusal};

/// A customer exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CustomerCreated {
    /// The customer.
    pub id: CustomerId,
    /// What people call it.
    pub name: String,
    /// Credit granted, zero or more.
    pub credit_limit: Money,
}

impl Event for CustomerCreated {
    const NAME: &'static str = "CustomerCreated";
    fn read(mut fields: Fields<'_>) -> Result<Self, Vec<FieldError>> {
        let id = fields.required::<CustomerId>("id");
        let name = fields.required::<DisplayName>("name");
        let credit_limit = fields.required::<Limit>("creditLimit");
        match (id, name, credit_limit) {
            (Some(id), Some(name), Some(credit_limit)) => Ok(CustomerCreated {
                id,
                name,
                credit_limit,
            }),
            _ => Err(fields.into_errors()),
        }
    }
    fn about(&self) -> About {
        About::default().with("customer_id", self.id)
    }
}

/// A customer's credit limit is another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CreditLimitChanged {
    /// The customer.
    pub customer_id: CustomerId,
    /// Credit granted from now on, zero or more.
    pub credit_limit: Money,
}

impl Event for CreditLimitChanged {
    const NAME: &'static str = "CreditLimitChanged";
    fn read(mut fields: Fields<'_>) -> Result<Self, Vec<FieldError>> {
        let customer_id = fields.required::<CustomerId>("customerId");
        let credit_limit = fields.required::<Limit>("creditLimit");
        match (customer_id, credit_limit) {
            (Some(customer_id), Some(credit_limit)) => Ok(CreditLimitChanged {
                customer_id,
                credit_limit,
            }),
            _ => Err(fields.into_errors()),
        }
    }
    fn about(&self) -> About {
        About::default().with("customer_id", self.customer_id)
    }
}

/// The status of an order, as the number that the C# services exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OrderStatus {
    /// Announced, not yet validated: 0.
    Created,
    /// Validated: 1. Final.
    Shipped,
    /// Refused, or called off: 2. Final.
    Cancelled,
}

impl OrderStatus {
    /// All of them, in the order of their numbers.
    pub const ALL: [OrderStatus; 3] = [OrderStatus::Created, OrderStatus::Shipped, OrderStatus::Cancelled];

    /// Its number, its word, the event that announces it, and whether it never changes again.
    const fn row(self) -> (i32, &'static str, &'static str, bool) {
        match self {
            OrderStatus::Created => (0, "Created", OrderCreated::NAME, false),
            OrderStatus::Shipped => (1, "Shipped", OrderShipped::NAME, true),
            OrderStatus::Cancelled => (2, "Cancelled", OrderCancelled::NAME, true),
        }
    }

    /// Its number.
    pub const fn number(self) -> i32 {
        self.row().0
    }

    /// Its word.
    pub fn as_str(self) -> &'static str {
        self.row().1
    }

    /// The name of the event that announces it.
    pub fn announced_by(self) -> &'static str {
        self.row().2
    }

    /// Whether it never changes again.
    pub fn is_final(self) -> bool {
        self.row().3
    }

    /// The one that events of this name announce.
    pub fn of_event(name: &str) -> Option<OrderStatus> {
        Self::ALL.into_iter().find(|status| status.announced_by() == name)
    }

    /// From its word in any case, or its number.
    pub fn parse(text: &str) -> Option<OrderStatus> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str().eq_ignore_ascii_case(text) || status.number().to_string() == text)
    }
}

impl Serialize for OrderStatus {
    /// The number.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i32(self.number())
    }
}

impl<'de> serde::Deserialize<'de> for OrderStatus {
    /// From a document only, in every type that tools write.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<OrderStatus, D::Error> {
        let number: i32 = numbers::whole(deserializer)?;
        let status = Self::ALL.into_iter().find(|status| status.number() == number);
        status.ok_or_else(|| serde::de::Error::custom("an order status that is not 0, 1 or 2"))
    }
}

impl FieldType for OrderStatus {
    type Value = OrderStatus;
    const EXPECTED: &'static str = "0 (created), 1 (shipped) or 2 (cancelled)";
    fn read(value: &RawValue) -> Result<OrderStatus, String> {
        let text = value.get().trim_matches('"');
        OrderStatus::parse(text).ok_or_else(|| "is no order status".into())
    }
}

/// An order exists and waits for its validation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderCreated {
    /// The order.
    pub id: OrderId,
    /// Who ordered.
    pub customer_id: CustomerId,
    /// What it costs, more than nothing.
    pub amount: Money,
    /// Always [`OrderStatus::Created`] in what we write.
    pub status: OrderStatus,
}

impl Event for OrderCreated {
    const NAME: &'static str = "OrderCreated";
    fn read(mut fields: Fields<'_>) -> Result<Self, Vec<FieldError>> {
        let id = fields.required::<OrderId>("id");
        let customer_id = fields.required::<CustomerId>("customerId");
        let amount = fields.required::<Amount>("amount");
        let status = fields.optional::<OrderStatus>("status");
        match (id, customer_id, amount, status) {
            (Some(id), Some(customer_id), Some(amount), Some(status)) => Ok(OrderCreated {
                id,
                customer_id,
                amount,
                status: status.unwrap_or(OrderStatus::Created),
            }),
            _ => Err(fields.into_errors()),
        }
    }
    fn about(&self) -> About {
        About::default()
            .with("customer_id", self.customer_id)
            .with("order_id", self.id)
    }
}

/// Customers has decided whether there is credit for an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderValidated {
    /// The order.
    pub order_id: OrderId,
    /// Whether credit is reserved for it.
    pub is_valid: bool,
    /// Who ordered. Ours; a C# writer leaves it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<CustomerId>,
    /// What it costs. Ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<Money>,
    /// Why it is not valid. Ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Refusal>,
}

impl Event for OrderValidated {
    const NAME: &'static str = "OrderValidated";
    fn read(mut fields: Fields<'_>) -> Result<Self, Vec<FieldError>> {
        let order_id = fields.required::<OrderId>("orderId");
        let is_valid = fields.required::<bool>("isValid");
        let customer_id = fields.optional::<CustomerId>("customerId");
        let amount = fields.optional::<Amount>("amount");
        let reason = fields.optional::<Refusal>("reason");
        match (order_id, is_valid, customer_id, amount, reason) {
            (Some(order_id), Some(is_valid), Some(customer_id), Some(amount), Some(reason)) => {
                Ok(OrderValidated {
                    order_id,
                    is_valid,
                    customer_id,
                    amount,
                    reason,
                })
            }
            _ => Err(fields.into_errors()),
        }
    }
    fn about(&self) -> About {
        About::default()
            .with_some("customer_id", self.customer_id)
            .with("order_id", self.order_id)
    }
}

/// An order is on its way. Final.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderShipped {
    /// The order.
    pub id: OrderId,
    /// Who ordered. Ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<CustomerId>,
    /// What it costs. Ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<Money>,
}

impl Event for OrderShipped {
    const NAME: &'static str = "OrderShipped";
    fn read(mut fields: Fields<'_>) -> Result<Self, Vec<FieldError>> {
        let id = fields.required::<OrderId>("id");
        let customer_id = fields.optional::<CustomerId>("customerId");
        let amount = fields.optional::<Amount>("amount");
        match (id, customer_id, amount) {
            (Some(id), Some(customer_id), Some(amount)) => Ok(OrderShipped {
                id,
                customer_id,
                amount,
            }),
            _ => Err(fields.into_errors()),
        }
    }
    fn about(&self) -> About {
        About::default()
            .with_some("customer_id", self.customer_id)
            .with("order_id", self.id)
    }
}

/// An order will not be shipped. Final.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderCancelled {
    /// The order.
    pub id: OrderId,
    /// Who ordered. Ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<CustomerId>,
    /// What it would have cost. Ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<Money>,
    /// Why. Ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<CancelReason>,
}

impl Event for OrderCancelled {
    const NAME: &'static str = "OrderCancelled";
    fn read(mut fields: Fields<'_>) -> Result<Self, Vec<FieldError>> {
        let id = fields.required::<OrderId>("id");
        let customer_id = fields.optional::<CustomerId>("customerId");
        let amount = fields.optional::<Amount>("amount");
        let reason = fields.optional::<CancelReason>("reason");
        match (id, customer_id, amount, reason) {
            (Some(id), Some(customer_id), Some(amount), Some(reason)) => Ok(OrderCancelled {
                id,
                customer_id,
                amount,
                reason,
            }),
            _ => Err(fields.into_errors()),
        }
    }
    fn about(&self) -> About {
        About::default()
            .with_some("customer_id", self.customer_id)
            .with("order_id", self.id)
    }
}

/// The shipment of an order is prepared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShipmentPrepared {
    /// The order.
    pub order_id: OrderId,
    /// Who ordered, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<CustomerId>,
    /// What the customer follows the parcel by.
    pub tracking_number: String,
}

impl Event for ShipmentPrepared {
    const NAME: &'static str = "ShipmentPrepared";
    fn read(mut fields: Fields<'_>) -> Result<Self, Vec<FieldError>> {
        let order_id = fields.required::<OrderId>("orderId");
        let customer_id = fields.optional::<CustomerId>("customerId");
        let tracking_number = fields.required::<DisplayName>("trackingNumber");
        match (order_id, customer_id, tracking_number) {
            (Some(order_id), Some(customer_id), Some(tracking_number)) => Ok(ShipmentPrepared {
                order_id,
                customer_id,
                tracking_number,
            }),
            _ => Err(fields.into_errors()),
        }
    }
    fn about(&self) -> About {
        About::default()
            .with_some("customer_id", self.customer_id)
            .with("order_id", self.order_id)
    }
}
