//! Actors that a service cannot do without.
//!
//! A panic in an actor costs the actor, silently: later messages to it are dropped. So each
//! essential actor holds an [`Essential`]; when that is dropped before the service is told to stop,
//! the service ends with an error and a supervisor starts it anew.

use actix::Message;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Asks an actor to finish what it has and take nothing new; answered when it has finished.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct Drain;

/// Asks an actor whether what it depends on is there; the error says what it waits for.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "Result<(), String>")]
pub struct Check;

/// Held by an actor as long as it lives.
#[derive(Debug)]
pub struct Essential {
    name: &'static str,
    deaths: UnboundedSender<&'static str>,
}

/// Learns the names of essential actors that have died.
pub type Deaths = UnboundedReceiver<&'static str>;

/// Makes [`Essential`]s.
#[derive(Debug, Clone)]
pub struct Essentials(UnboundedSender<&'static str>);

impl Essentials {
    /// The maker and where deaths are told.
    pub fn new() -> (Essentials, Deaths) {
        let (sender, receiver) = unbounded_channel();
        (Essentials(sender), receiver)
    }

    /// For the actor of this name.
    pub fn guard(&self, name: &'static str) -> Essential {
        Essential {
            name,
            deaths: self.0.clone(),
        }
    }
}

impl Drop for Essential {
    fn drop(&mut self) {
        // Nobody listens any more once the service stops.
        let _ = self.deaths.send(self.name);
    }
}

#[cfg(test)]
mod tests {
    use actix::{Actor, Context, Handler};

    use super::*;

    struct Fragile(#[allow(dead_code, reason = "held, not read")] Essential);

    impl Actor for Fragile {
        type Context = Context<Self>;
    }

    impl Handler<Drain> for Fragile {
        type Result = ();

        fn handle(&mut self, _: Drain, _: &mut Context<Self>) {
            panic!("a bug");
        }
    }

    #[actix::test]
    async fn the_death_of_an_actor_by_a_panic_is_told() {
        let (essentials, mut deaths) = Essentials::new();
        let fragile = Fragile(essentials.guard("Fragile")).start();
        assert!(deaths.try_recv().is_err(), "it lives");
        fragile.do_send(Drain);
        assert_eq!(deaths.recv().await, Some("Fragile"));
    }
}
