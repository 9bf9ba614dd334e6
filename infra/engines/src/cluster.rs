//! Several brokers, or several members of the replica set: each of them by itself, and which one leads.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::error::StartError;
use crate::instance::{self, Instance};
use crate::{Engine, Engines, kafka, mongo};

/// One process of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node {
    /// Of which engine.
    pub engine: Engine,
    /// Which one, from 0. Kafka's own ids begin at 1.
    pub number: u16,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.engine, self.number + 1)
    }
}

impl Engines {
    /// All nodes of an engine; none where it was left out.
    pub fn nodes(&self, engine: Engine) -> Vec<Node> {
        self.of(engine).iter().map(|instance| instance.node).collect()
    }

    /// As [`Engines::log`].
    ///
    /// # Panics
    /// This and all below, if there is no such node.
    pub fn log_of(&self, node: Node) -> &Path {
        &self.instance(node).log
    }

    /// As [`Engines::pid`].
    pub fn pid_of(&self, node: Node) -> Option<u32> {
        self.instance(node).pid()
    }

    /// Ends this node with SIGKILL and returns when it is gone.
    pub fn kill_node(&mut self, node: Node) {
        self.instance_mut(node).kill();
    }

    /// Starts this node again and returns when it is ready: a broker that the others know, a member
    /// that knows of a primary. So there have to be others enough.
    pub fn restart_node(&mut self, node: Node) -> Result<(), StartError> {
        let watchdog = Arc::clone(&self.watchdog);
        instance::restart(&mut [self.instance_mut(node)], &watchdog)
    }

    /// Freezes this node with SIGSTOP.
    pub fn pause_node(&mut self, node: Node) {
        self.instance_mut(node).pause();
    }

    /// Lets this node continue.
    pub fn resume_node(&mut self, node: Node) {
        self.instance_mut(node).resume();
    }

    /// A node that has ended although nobody asked it to.
    pub fn lost_node(&mut self) -> Option<Node> {
        let mut all = self.kafka.iter_mut().chain(&mut self.mongo);
        all.find_map(|instance| instance.lost().then_some(instance.node))
    }

    /// The broker that leads this partition at this moment; `None` where there is none, or none
    /// answers. Blocks.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<Node> {
        let brokers = &self.kafka.first()?.address;
        Some(broker(kafka::leader(brokers, topic, partition)?))
    }

    /// The broker that is the active controller, as far as the brokers have written it down.
    pub fn controller(&self) -> Option<Node> {
        Some(broker(kafka::controller(&self.place, self.kafka.len())?))
    }

    /// The member that is primary at this moment; `None` where there is none, or none answers.
    /// Blocks.
    pub fn primary(&self) -> Option<Node> {
        let number = mongo::primary(&self.mongo.first()?.ports)?;
        Some(Node {
            engine: Engine::Mongo,
            number,
        })
    }

    fn instance(&self, node: Node) -> &Instance {
        self.of(node.engine)
            .get(usize::from(node.number))
            .unwrap_or_else(|| panic!("there is no {node}"))
    }

    fn instance_mut(&mut self, node: Node) -> &mut Instance {
        self.of_mut(node.engine)
            .get_mut(usize::from(node.number))
            .unwrap_or_else(|| panic!("there is no {node}"))
    }
}

fn broker(number: u16) -> Node {
    Node {
        engine: Engine::Kafka,
        number,
    }
}
