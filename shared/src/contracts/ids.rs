//! The ids that services exchange, and what happens in a saga as closed lists of words.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::json::{self, FieldType};

/// An id of its own type: text for people and services, a binary UUID in documents.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub uuid::Uuid);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&self.0, f)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl From<$name> for uuid::Uuid {
            fn from(id: $name) -> uuid::Uuid {
                id.0
            }
        }

        impl serde::Serialize for $name {
            /// Text for people and services, a binary UUID for documents.
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    mongodb::bson::Uuid::from_bytes(self.0.into_bytes()).serialize(serializer)
                }
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            /// From a document only.
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                let id = <mongodb::bson::Uuid as serde::Deserialize>::deserialize(deserializer)?;
                Ok($name(uuid::Uuid::from_bytes(id.bytes())))
            }
        }
    };
}

pub(crate) use id;

id!(
    /// A customer.
    CustomerId
);
id!(
    /// An order, and the reservation made for it.
    OrderId
);
id!(
    /// An event: a function of what it is about, so an event announced again has the same.
    EventId
);

impl EventId {
    /// Makes ids of this system differ from other name-based ids.
    const NAMESPACE: Uuid = Uuid::from_u128(0x8e3c_5a1e_5f0b_4c5e_9d57_6b1f_0f3a_2c41);

    /// The id of the event that this aggregate announces at this version.
    pub fn of(aggregate: impl Into<Uuid>, name: &str, version: i64) -> EventId {
        let about = format!("{}/{name}/{version}", aggregate.into());
        EventId(Uuid::new_v5(&Self::NAMESPACE, about.as_bytes()))
    }
}

macro_rules! field_type {
    ($name:ident) => {
        impl FieldType for $name {
            type Value = $name;
            const EXPECTED: &'static str = Uuid::EXPECTED;
            fn read(value: &RawValue) -> Result<$name, String> {
                Uuid::read(value).map($name)
            }
        }
    };
}

field_type!(CustomerId);
field_type!(OrderId);

macro_rules! words {
    ($(#[$doc:meta])* $name:ident: $expected:literal { $($(#[$word_doc:meta])* $word:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub enum $name { $($(#[$word_doc])* $word),+ }

        impl<'de> Deserialize<'de> for $name {
            /// From a document, in any case: a person may have written it.
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                let text = String::deserialize(deserializer)?;
                $name::parse(&text).ok_or_else(|| {
                    serde::de::Error::custom(format!("{text:?} is not {}", $expected))
                })
            }
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [$name] = &[$($name::$word),+];

            /// As it is written.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$word => stringify!($word)),+ }
            }

            /// From how it is written, in any case.
            pub fn parse(text: &str) -> Option<$name> {
                Self::ALL.iter().copied().find(|word| word.as_str().eq_ignore_ascii_case(text))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FieldType for $name {
            type Value = $name;
            const EXPECTED: &'static str = $expected;
            fn read(value: &RawValue) -> Result<$name, String> {
                let text = json::string(value)?;
                $name::parse(&text).ok_or_else(|| "is not one of the known words".into())
            }
        }
    };
}

words!(
    /// Why Customers found an order invalid.
    Refusal: "InsufficientCredit or UnknownCustomer" {
        /// The customer's available credit is smaller than the amount.
        InsufficientCredit,
        /// There is no such customer.
        UnknownCustomer,
    }
);

words!(
    /// Why an order is cancelled.
    CancelReason: "InsufficientCredit, UnknownCustomer, CancelledByCustomer or TimedOut" {
        /// Customers found too little credit.
        InsufficientCredit,
        /// Customers knows no such customer.
        UnknownCustomer,
        /// Somebody asked for it.
        CancelledByCustomer,
        /// Nobody validated it in time. Read, never written: our orders are announced again instead.
        TimedOut,
    }
);

impl From<Refusal> for CancelReason {
    fn from(refusal: Refusal) -> CancelReason {
        match refusal {
            Refusal::InsufficientCredit => CancelReason::InsufficientCredit,
            Refusal::UnknownCustomer => CancelReason::UnknownCustomer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_announced_again_has_the_same_id() {
        let order = OrderId(Uuid::from_u128(1));
        assert_eq!(
            EventId::of(order, "OrderCreated", 1),
            EventId::of(order, "OrderCreated", 1)
        );
        assert_ne!(
            EventId::of(order, "OrderCreated", 1),
            EventId::of(order, "OrderCreated", 2)
        );
        let known = "39d16079-43d2-55a4-89c0-b70bad4b1fe3";
        assert_eq!(EventId::of(order, "OrderCreated", 1).to_string(), known);
    }
}
