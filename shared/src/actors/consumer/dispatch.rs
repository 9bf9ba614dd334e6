//! Reads whom a record is meant for, and sends it there.

use super::routes::{Answer, HandlerError, Route, Routes};
use crate::{actors::repository::Turn, contracts, envelope::Received, event_log::ConsumedRecord};

/// Whom a record is meant for.
pub enum Addressee<'a> {
    Handler(Received, &'a dyn Route),
    Nobody {
        /// Whether the name of the event is known at all.
        known: bool,
    },
}

/// Reads whom a record is meant for.
pub fn addressee<'a>(routes: &'a Routes, record: &ConsumedRecord) -> Result<Addressee<'a>, HandlerError> {
    let received = Received::read(record).map_err(|error| HandlerError::Poison {
        code: "malformed-envelope",
        message: error.to_string(),
    })?;
    if let Some(route) = routes.get(&received.name) {
        return Ok(Addressee::Handler(received, route));
    }
    let known = contracts::is_known(&received.name);
    if !known {
        log::warn!(target: "KafkaConsumerActor", event_id = received.event_id.as_str(),
            event = received.name.as_str(); "skipped: an event of this name is not known here");
    }
    Ok(Addressee::Nobody { known })
}

/// What becomes of a record at once.
pub enum Begun {
    /// Its handler has it, and will answer.
    Answer(&'static str, Answer),
    /// No handler is meant for it.
    Skipped {
        /// Whether its name is known at all.
        known: bool,
    },
}

/// Reads a record and sends it to its handler.
pub fn begin(routes: &Routes, record: &ConsumedRecord, turn: Turn) -> Result<Begun, HandlerError> {
    let (received, route) = match addressee(routes, record)? {
        Addressee::Handler(received, route) => (received, route),
        Addressee::Nobody { known } => return Ok(Begun::Skipped { known }),
    };
    let name = route.name();
    let answer = route
        .hand_over(received, turn)
        .map_err(|error| HandlerError::Poison {
            code: "malformed-event",
            message: error.to_string(),
        })?;
    Ok(Begun::Answer(name, answer))
}
