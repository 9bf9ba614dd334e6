//! How topics are made, and which of their settings endanger a promise of ours.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    admin::{AdminClient, AdminOptions, ResourceSpecifier},
    metadata::Metadata,
};

use super::{admin::wait_for, link::Linked};
use crate::event_log::{Partition, TopicSettings};

/// Copies of each partition where there are brokers enough.
const COPIES: i32 = 3;
/// A topic's limit holds for a whole batch of records: librdkafka fills one up to 1,000,000 bytes
/// (`batch.size`), so a topic that takes less would refuse good records. Kafka's own default.
const LEAST_BATCH_BYTES: usize = 1_048_588;
/// What a batch adds around a single record, generously.
const BATCH_OVERHEAD: usize = 1024;
/// A weekend and a day to notice that a service stands still, before its events are gone.
const LEAST_RETENTION: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// The copies of each partition to make a topic with, and how many of them have to confirm a record.
/// With two of three a record is safe from the loss of a broker, and one broker may be away.
pub(super) fn copies(wanted: i32, brokers: usize) -> (i32, i32) {
    let brokers = i32::try_from(brokers).unwrap_or(i32::MAX).max(1);
    let copies = if wanted > 0 { wanted } else { brokers.min(COPIES) };
    (copies, if copies >= COPIES { 2 } else { 1 })
}

/// The largest batch that a topic has to take.
pub(super) fn batch_bytes(topic: &TopicSettings) -> usize {
    (topic.max_record_bytes + BATCH_OVERHEAD).max(LEAST_BATCH_BYTES)
}

/// A topic as it is found.
#[derive(Debug, Default)]
pub(super) struct Found {
    brokers: usize,
    partitions: Partition,
    /// Of the partition that has the fewest.
    copies: i32,
    /// Its settings; empty where we may not see them.
    settings: BTreeMap<String, String>,
}

/// Looks at a topic. What may not be seen is left out: missing rights are no failure. Blocks.
pub(super) fn look(
    admin: &AdminClient<Linked>,
    metadata: &Metadata,
    topic: &str,
    deadline: Duration,
) -> Found {
    let mut found = Found {
        brokers: metadata.brokers().len(),
        ..Found::default()
    };
    if let Some(topic) = metadata.topics().iter().find(|found| found.name() == topic) {
        let copies = topic
            .partitions()
            .iter()
            .map(|partition| partition.replicas().len());
        found.copies = copies
            .min()
            .and_then(|copies| i32::try_from(copies).ok())
            .unwrap_or(0);
        found.partitions = Partition::try_from(topic.partitions().len()).unwrap_or(Partition::MAX);
    }
    let options = AdminOptions::new().request_timeout(Some(deadline));
    let resource = [ResourceSpecifier::Topic(topic)];
    match wait_for(admin.describe_configs(&resource, &options)) {
        Ok(Ok(resources)) => {
            let entries = resources
                .into_iter()
                .flatten()
                .flat_map(|resource| resource.entries);
            found.settings = entries
                .filter_map(|entry| Some((entry.name, entry.value?)))
                .collect();
        }
        Ok(Err(error)) => log::debug!(target: "kafka", topic, error:%; "settings cannot be seen"),
        Err(error) => log::debug!(target: "kafka", topic, error:%; "settings cannot be seen"),
    }
    found
}

/// What of a topic endangers which promise, and what helps: a line each.
pub(super) fn dangers(wanted: &TopicSettings, found: &Found) -> Vec<String> {
    let mut dangers = Vec::new();
    let setting = |name: &str| found.settings.get(name).map(String::as_str);
    let number = |name: &str| setting(name).and_then(|value| value.parse::<i64>().ok());
    if found.partitions != wanted.partitions {
        dangers.push(format!(
            "the topic has {} partitions, not {}: it keeps them, and so many instances of a service share its \
             events at most",
            found.partitions, wanted.partitions
        ));
    }
    let (copies, confirming) = copies(wanted.replication, found.brokers);
    if found.copies < copies {
        dangers.push(format!(
            "replication is {} with {} brokers: the loss of one broker stops the topic or loses events that were \
             accepted (wanted: {copies}, by kafka-reassign-partitions)",
            found.copies, found.brokers
        ));
    }
    match number("min.insync.replicas") {
        Some(least) if least < i64::from(confirming) && found.copies >= copies => dangers.push(format!(
            "min.insync.replicas={least}: an event may be confirmed by one broker alone and be lost with it \
             (wanted: {confirming})"
        )),
        Some(least) if found.copies > 1 && least >= i64::from(found.copies) => dangers.push(format!(
            "min.insync.replicas={least} with {} copies: nothing can be published while one broker is away \
             (wanted: {confirming})",
            found.copies
        )),
        Some(least) if least > i64::from(found.copies) => dangers.push(format!(
            "min.insync.replicas={least} with {} copies: nothing can be published at all (wanted: {confirming})",
            found.copies
        )),
        _ => {}
    }
    if setting("unclean.leader.election.enable") == Some("true") {
        dangers.push(
            "unclean.leader.election.enable=true: a broker that lacks events may become leader, and events that \
             were accepted are lost (wanted: false)"
                .into(),
        );
    }
    if let Some(policy) = setting("cleanup.policy").filter(|policy| policy.contains("compact")) {
        dangers.push(format!(
            "cleanup.policy={policy}: compaction keeps only the last event of each key, so earlier events go \
             before they are read or can be replayed (wanted: delete)"
        ));
    }
    let least = LEAST_RETENTION.as_millis();
    if let Some(retention) = number("retention.ms").and_then(|time| u128::try_from(time).ok())
        && retention < least
    {
        dangers.push(format!(
            "retention.ms={retention}: events are gone unread once a service stands still for so long, and \
             cannot be replayed (wanted: {least} or more, or -1)"
        ));
    }
    if let Some(bytes) = number("retention.bytes").filter(|bytes| *bytes >= 0) {
        dangers.push(format!(
            "retention.bytes={bytes}: a busy time drops events unread, however young they are (wanted: -1)"
        ));
    }
    let bytes = batch_bytes(wanted);
    if let Some(limit) = number("max.message.bytes").and_then(|limit| usize::try_from(limit).ok())
        && limit < bytes
    {
        dangers.push(format!(
            "max.message.bytes={limit}: larger records and batches are refused, so what was accepted may never \
             be published (wanted: {bytes} or more)"
        ));
    }
    dangers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> TopicSettings {
        TopicSettings {
            name: "t".into(),
            partitions: 3,
            replication: 0,
            max_record_bytes: 1 << 20,
        }
    }

    fn found(brokers: usize, copies: i32, settings: &[(&str, &str)]) -> Found {
        let settings = settings
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        Found {
            brokers,
            partitions: 3,
            copies,
            settings: settings.collect(),
        }
    }

    #[test]
    fn copies_fit_the_brokers_unless_they_are_set() {
        for (wanted, brokers, expected) in [
            (0, 0, (1, 1)),
            (0, 1, (1, 1)),
            (0, 2, (2, 1)),
            (0, 3, (3, 2)),
            (0, 9, (3, 2)),
            (1, 3, (1, 1)),
            (5, 9, (5, 2)),
        ] {
            assert_eq!(copies(wanted, brokers), expected, "{wanted} wanted on {brokers}");
        }
    }

    #[test]
    fn a_topic_as_we_make_it_and_one_that_we_may_not_see_are_no_danger() {
        let ours = [
            ("min.insync.replicas", "2"),
            ("cleanup.policy", "delete"),
            ("retention.ms", "604800000"),
            ("retention.bytes", "-1"),
            ("max.message.bytes", "1049600"),
            ("unclean.leader.election.enable", "false"),
        ];
        let nothing: [String; 0] = [];
        assert_eq!(dangers(&wanted(), &found(3, 3, &ours)), nothing);
        assert_eq!(dangers(&wanted(), &found(3, 3, &[])), nothing);
        assert_eq!(
            dangers(&wanted(), &found(1, 1, &[("min.insync.replicas", "1")])),
            nothing
        );
        assert_eq!(
            dangers(&wanted(), &found(3, 3, &[("retention.ms", "-1")])),
            nothing
        );
    }

    #[test]
    fn each_setting_that_endangers_a_promise_is_one_warning() {
        for (brokers, copies, name, value, word) in [
            (3, 3, "min.insync.replicas", "1", "confirmed by one broker alone"),
            (3, 3, "min.insync.replicas", "3", "while one broker is away"),
            (1, 1, "min.insync.replicas", "2", "at all"),
            (3, 3, "cleanup.policy", "compact,delete", "compaction"),
            (3, 3, "retention.ms", "3600000", "gone unread"),
            (3, 3, "retention.bytes", "1000000", "unread"),
            (3, 3, "max.message.bytes", "1000012", "refused"),
            (3, 3, "unclean.leader.election.enable", "true", "leader"),
        ] {
            let dangers = dangers(&wanted(), &found(brokers, copies, &[(name, value)]));
            assert_eq!(dangers.len(), 1, "{dangers:?}");
            assert!(dangers[0].starts_with(&format!("{name}={value}")), "{dangers:?}");
            assert!(dangers[0].contains(word), "{dangers:?}");
        }
        let few = dangers(&wanted(), &found(3, 1, &[("min.insync.replicas", "1")]));
        assert_eq!(few.len(), 1, "{few:?}");
        assert!(few[0].starts_with("replication is 1 with 3 brokers"), "{few:?}");
    }
}
