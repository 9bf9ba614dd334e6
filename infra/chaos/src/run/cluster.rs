//! Three brokers and members: which of them a fault strikes, and a topic whose partitions have a single
//! copy each, on brokers of their own, so that one has no leader while its broker is away.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use contracts::TOPIC;
use engines::{Engine, Engines, Node};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};
use uuid::{Builder, Uuid};

use super::world::{World, lock};

/// Of the topic.
pub const PARTITIONS: i32 = 3;
/// The one whose broker goes away.
pub const LONE: i32 = PARTITIONS - 1;
/// A role is vacant for a moment when its holder has just gone.
const ELECTED_WITHIN: Duration = Duration::from_secs(20);

/// What a node may be at the moment when a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The broker that leads the first partition.
    Leader,
    /// The broker that is the active controller.
    Controller,
    /// The member that is primary.
    Primary,
    /// The broker that has the copy of [`LONE`].
    OnlyCopy,
}

impl Role {
    /// Whose nodes have it.
    pub fn engine(self) -> Engine {
        match self {
            Role::Leader | Role::Controller | Role::OnlyCopy => Engine::Kafka,
            Role::Primary => Engine::Mongo,
        }
    }

    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Role::Leader => "leader",
            Role::Controller => "controller",
            Role::Primary => "primary",
            Role::OnlyCopy => "only copy",
        }
    }

    fn held_by(self, engines: &Engines) -> Option<Node> {
        match self {
            Role::Leader => engines.leader(TOPIC, 0),
            Role::Controller => engines.controller(),
            Role::Primary => engines.primary(),
            Role::OnlyCopy => engines.nodes(Engine::Kafka).last().copied(),
        }
    }
}

/// The node that has this role now.
pub fn find(world: &World, role: Role) -> anyhow::Result<Node> {
    let begin = Instant::now();
    loop {
        let found = lock(&world.engines)
            .as_ref()
            .and_then(|engines| role.held_by(engines));
        if let Some(node) = found {
            return Ok(node);
        }
        if begin.elapsed() > ELECTED_WITHIN || !world.sleep(Duration::from_millis(200)) {
            bail!("nobody is {} within {ELECTED_WITHIN:?}", role.name());
        }
    }
}

/// Makes the topic of the events with one copy of each partition, that of [`LONE`] on the last broker.
/// Kafka takes no topic with more copies of one partition than of another.
pub async fn make_topic(engines: &Engines) -> anyhow::Result<()> {
    let last = i32::try_from(engines.nodes(Engine::Kafka).len())?;
    let copies = (0..PARTITIONS).map(|partition| [last - LONE + partition]);
    let copies: Vec<[i32; 1]> = copies.collect();
    let copies: Vec<&[i32]> = copies.iter().map(|copy| copy.as_slice()).collect();
    let topic = NewTopic::new(TOPIC, PARTITIONS, TopicReplication::Variable(&copies))
        .set("min.insync.replicas", "1")
        .set("max.message.bytes", "2097152");
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", engines.kafka_brokers())
        .create()?;
    let options = AdminOptions::new().operation_timeout(Some(ELECTED_WITHIN));
    let made = admin.create_topics([&topic], &options).await?;
    made.into_iter()
        .next()
        .ok_or_else(|| anyhow!("no answer"))?
        .map_err(|(topic, code)| anyhow!("{topic}: {code}"))
        .context("the topic cannot be made")?;
    let begin = Instant::now();
    while (0..PARTITIONS).any(|partition| engines.leader(TOPIC, partition).is_none()) {
        if begin.elapsed() > ELECTED_WITHIN {
            bail!("a partition of {TOPIC} has no leader");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// An id whose key belongs to this partition.
pub fn customer_of(partition: i32, random: &mut fastrand::Rng) -> Uuid {
    loop {
        let id = Builder::from_random_bytes(random.u128(..).to_le_bytes()).into_uuid();
        if partition_of(id) == partition {
            return id;
        }
    }
}

/// Where the events of a customer stand: as the partitioner of Java's clients, and ours, has it.
pub fn partition_of(customer: Uuid) -> i32 {
    let hash = murmur2(customer.to_string().as_bytes()) & 0x7fff_ffff;
    (hash % PARTITIONS.unsigned_abs()).cast_signed()
}

/// As `org.apache.kafka.common.utils.Utils` has it.
fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ bytes.len() as u32;
    let mut chunks = bytes.chunks_exact(4);
    for chunk in &mut chunks {
        let word = chunk
            .iter()
            .rev()
            .fold(0, |word, byte| word << 8 | u32::from(*byte));
        let word = word.wrapping_mul(M);
        let word = (word ^ (word >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ word;
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        hash ^= rest
            .iter()
            .rev()
            .fold(0, |word, byte| word << 8 | u32::from(*byte));
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_hashed_as_by_javas_clients() {
        // From the test of Kafka's own `Utils`.
        let cases: [(&str, i32); 4] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ];
        for (text, hash) in cases {
            assert_eq!(murmur2(text.as_bytes()).cast_signed(), hash, "{text}");
        }
    }

    #[test]
    fn a_customer_of_each_partition_is_found() {
        let mut random = fastrand::Rng::with_seed(7);
        for partition in 0..PARTITIONS {
            assert_eq!(partition_of(customer_of(partition, &mut random)), partition);
        }
    }
}
