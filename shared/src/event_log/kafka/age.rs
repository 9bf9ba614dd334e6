//! When a record was written that is not read: the lag in seconds of a partition that nobody reads.
//!
//! It is not read for that: it may be unreadable, and reading is what has stopped. The broker tells the
//! first offset at or after a time, so halving the time finds the record's own, exact to a millisecond.
//! Nothing is interpolated: with a pause in the stream an interpolated age was 1,779 s where 6 s were
//! true. Where writers' clocks disagree it is the latest time up to the record.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rdkafka::{
    ClientConfig, Offset as KafkaOffset, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaResult,
};

use super::link::{Link, Linked};
use crate::event_log::{Offset, Partition};

/// How long a broker may take to answer each of the 41 questions, 1 to 2 ms as a rule.
const ANSWER: Duration = Duration::from_secs(1);

/// Asks when records were written. Made when it is first needed, which it is only when something is
/// wrong or paused.
pub(super) struct Ages {
    config: ClientConfig,
    link: Arc<Link>,
    client: Option<BaseConsumer<Linked>>,
}

impl Ages {
    /// Asks as a client of these settings; joins no group.
    pub(super) fn new(mut config: ClientConfig, link: Arc<Link>) -> Self {
        let client = None;
        // They would pile up: nobody polls this client.
        config.set("statistics.interval.ms", "0");
        Self { config, link, client }
    }

    /// When this record was written. Blocks. After a failure the next question is asked by a new client.
    pub(super) fn written(
        &mut self,
        topic: &str,
        partition: Partition,
        offset: Offset,
    ) -> KafkaResult<SystemTime> {
        let client = match self.client.take() {
            Some(client) => client,
            None => BaseConsumer::from_config_and_context(&self.config, Linked::new(&self.link))?,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // At `from` it is written already, before `until` it is not.
        let (mut from, mut until) = (0, i64::try_from(now.as_millis()).unwrap_or(i64::MAX));
        while until - from > 1 {
            let time = from + (until - from) / 2;
            if first_since(&client, topic, partition, time)?.is_some_and(|first| first <= offset) {
                from = time;
            } else {
                until = time;
            }
        }
        self.client = Some(client);
        Ok(UNIX_EPOCH + Duration::from_millis(u64::try_from(from).unwrap_or(0)))
    }
}

/// The first record that was written at that time or later.
fn first_since(
    client: &BaseConsumer<Linked>,
    topic: &str,
    partition: Partition,
    millis: i64,
) -> KafkaResult<Option<Offset>> {
    let mut question = TopicPartitionList::new();
    question.add_partition_offset(topic, partition, KafkaOffset::Offset(millis))?;
    let answer = client.offsets_for_times(question, ANSWER)?;
    Ok(answer.elements().first().and_then(|found| match found.offset() {
        KafkaOffset::Offset(offset) => Some(offset),
        _ => None,
    }))
}
