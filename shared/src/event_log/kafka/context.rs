//! librdkafka's callbacks, which run inside `poll`; see the hazard of [`super::member`].

use std::sync::{Arc, atomic::Ordering};

use rdkafka::{
    ClientContext, Statistics, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
};

use super::{
    link::{code, route},
    member::Member,
};

/// The [`Member`] as librdkafka's context.
pub(super) struct MemberContext(pub(super) Arc<Member>);

impl ClientContext for MemberContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        route(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = code(&error);
        if code == RDKafkaErrorCode::Fatal {
            // Comes out of `poll` too, where it ends the consumer.
            return;
        }
        if !matches!(code, RDKafkaErrorCode::AllBrokersDown) {
            self.0.trouble(reason);
        }
        self.0.link.complained(code, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let brokers = statistics.brokers.values();
        self.0
            .known_brokers
            .heard(brokers.map(|broker| broker.source.as_str()));
        self.0.heard(&statistics);
    }
}

impl ConsumerContext for MemberContext {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => self.0.assigned(list),
            Rebalance::Revoke(list) => {
                // librdkafka commits what it knows of while it gives the partitions back.
                self.0.pass_on_stored(consumer);
                self.0.revoked(list, consumer.assignment_lost());
            }
            Rebalance::Error(error) => self.0.link.warn(&format!("rebalance: {error}")),
        }
    }

    /// What is new is read or paused like everything else. librdkafka remembers a pause over
    /// assignments: a partition that was given back while all were paused would stand still for good.
    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(list) = rebalance else {
            return;
        };
        if list.count() == 0 {
            return;
        }
        let done = match self.0.paused.load(Ordering::Acquire) {
            true => consumer.pause(list),
            false => consumer.resume(list),
        };
        if let Err(error) = done {
            let reason = format!("new partitions neither paused nor resumed: {error}");
            self.0.link.warn(&reason);
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        let Err(error) = result else {
            return self.0.link.heard();
        };
        match code(&error) {
            RDKafkaErrorCode::NoOffset => {}
            // The next owner is given those records again: at least once, as promised.
            RDKafkaErrorCode::RebalanceInProgress
            | RDKafkaErrorCode::IllegalGeneration
            | RDKafkaErrorCode::UnknownMemberId
            | RDKafkaErrorCode::WaitingForCoordinator
            | RDKafkaErrorCode::StaleMemberEpoch => {
                log::debug!(target: "kafka", group:% = self.0.group, error:%; "commit came too late");
            }
            _ => self
                .0
                .link
                .warn(&format!("commit of group {}: {error}", self.0.group)),
        }
    }
}
