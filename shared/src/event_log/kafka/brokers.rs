//! A client that has forgotten its brokers is told of them once more.
//!
//! librdkafka forgets each broker that an answer about the cluster does not name. A cluster whose
//! brokers were all frozen, or cut off from their controller, names none at all for a moment after.
//! A client that asks just then has nobody left to ask: it confirmed and read nothing more for as long
//! as its process lived (librdkafka 2.12.1, 3 of 10 clients after a freeze of 13 s; known as
//! <https://github.com/confluentinc/librdkafka/issues/5301>). Its statistics tell.

use std::{
    collections::HashMap,
    ffi::CString,
    sync::atomic::{AtomicBool, Ordering},
};

use rdkafka::{ClientContext, client::Client};
use serde::Deserialize;

use super::native;

/// What one client knows of its brokers.
#[derive(Default)]
pub(super) struct KnownBrokers {
    none: AtomicBool,
}

/// What is read of librdkafka's statistics.
#[derive(Deserialize)]
struct Told {
    brokers: HashMap<String, Broker>,
}

#[derive(Deserialize)]
struct Broker {
    source: String,
}

impl KnownBrokers {
    /// What librdkafka tells every second, as JSON.
    pub(super) fn told(&self, statistics: &[u8]) {
        match serde_json::from_slice::<Told>(statistics) {
            Ok(told) => self.heard(told.brokers.values().map(|broker| broker.source.as_str())),
            Err(error) => {
                log::debug!(target: "kafka", error:%; "which brokers are known cannot be read");
            }
        }
    }

    /// How the client has come to know each of those that it knows.
    pub(super) fn heard<'a>(&self, mut sources: impl Iterator<Item = &'a str>) {
        // Others stand for a task, such as coordinating the group, whoever has it.
        let none = !sources.any(|source| matches!(source, "learned" | "configured"));
        self.none.store(none, Ordering::Release);
    }

    /// Tells the client of these brokers where it knows none.
    pub(super) fn remind<C: ClientContext>(&self, client: &Client<C>, brokers: &str) {
        if !self.none.swap(false, Ordering::AcqRel) {
            return;
        }
        log::warn!(target: "kafka", brokers:%; "the cluster named no broker: asking the first ones again");
        match CString::new(brokers) {
            Ok(brokers) => native::add_brokers(client, &brokers),
            // Such settings make no client.
            Err(error) => log::error!(target: "kafka", error:%; "the brokers cannot be asked"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_that_stand_for_a_task_are_not_known_ones() {
        let known = |json: &str| {
            let known = KnownBrokers::default();
            known.told(json.as_bytes());
            !known.none.load(Ordering::Acquire)
        };
        assert!(known(
            r#"{"ts":1,"brokers":{"h:1/bootstrap":{"source":"configured","state":"DOWN"}}}"#
        ));
        assert!(known(r#"{"brokers":{"h:1/1":{"source":"learned"}}}"#));
        assert!(!known(r#"{"brokers":{"GroupCoordinator":{"source":"logical"}}}"#));
        assert!(!known(
            r#"{"brokers":{":0/internal":{"source":"internal"}},"topics":{}}"#
        ));
        assert!(known("odd"), "what cannot be read tells nothing");
    }
}
