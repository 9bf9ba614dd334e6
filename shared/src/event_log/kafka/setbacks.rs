//! What a member does when the log has less than it had: records gone before they were read, offsets
//! that went back.

use std::sync::Arc;

use rdkafka::{Message as _, Offset as KafkaOffset, TopicPartitionList, message::BorrowedMessage};

use super::{
    lag::{Standing, Upset},
    link::lock,
    member::{Holding, Member, written},
    next_generation,
};
use crate::event_log::{Assignment, Losses, Partition, Signal};

impl Member {
    /// Offsets went back: what is under way of the partition belongs to a log that is no more. It is
    /// taken away and assigned anew, so that nothing of before is booked on what comes now.
    pub(super) fn begin_anew(
        &self,
        topic: &Arc<str>,
        message: &BorrowedMessage<'_>,
        before: u64,
        upset: Upset,
    ) -> u64 {
        let (partition, offset, now) = (message.partition(), message.offset(), self.now());
        let generation = next_generation(&self.generations);
        if let Some(holding) = lock(&self.held)
            .get_mut(topic)
            .and_then(|topic| topic.get_mut(&partition))
        {
            *holding = Holding::new(generation, Standing::anew(offset, now));
            holding.new = false;
            holding.back_to = Some(offset);
            holding.standing.delivered(offset, written(message), now);
        }
        self.tell(topic, partition, upset);
        let assignment = |generation| Assignment {
            topic: Arc::clone(topic),
            partition,
            generation,
        };
        self.signal(Signal::Revoked(vec![assignment(before)]));
        self.signal(Signal::Assigned(vec![assignment(generation)]));
        generation
    }

    /// Counts and tells what the log no longer has.
    pub(super) fn tell(&self, topic: &str, partition: Partition, upset: Upset) {
        let mut losses = lock(&self.losses);
        match upset {
            Upset::Gap(from, to) => {
                losses.gaps += 1;
                let lost = to - from;
                log::warn!(
                    target: "kafka", group:% = self.group, topic, partition, offset = from, lost;
                    "records {from} to {} are gone and were never read: the topic's retention was shorter \
                     than this group was behind", to - 1
                );
            }
            Upset::Back(from, to) => {
                losses.resets += 1;
                log::warn!(
                    target: "kafka", group:% = self.group, topic, partition, offset = to;
                    "offsets went back from {from} to {to}: the topic was made anew, or a broker lost its \
                     end; reading goes on from {to}"
                );
            }
        }
    }

    /// How often the log had lost something.
    pub(super) fn losses(&self) -> Losses {
        *lock(&self.losses)
    }

    /// Partitions that are new in hand, to ask what the group has committed of them.
    pub(super) fn take_new(&self) -> TopicPartitionList {
        self.list(|holding| std::mem::take(&mut holding.new).then_some(KafkaOffset::Invalid))
    }

    /// What the group had committed, before anything came.
    pub(super) fn begin_at(&self, committed: &TopicPartitionList) {
        let mut held = lock(&self.held);
        for element in committed.elements() {
            let holding = held
                .get_mut(element.topic())
                .and_then(|topic| topic.get_mut(&element.partition()));
            if let (Some(holding), KafkaOffset::Offset(offset)) = (holding, element.offset()) {
                holding.standing.begins_at(offset);
            }
        }
    }

    /// Offsets that are less than what is committed, and right.
    pub(super) fn take_back_to(&self) -> TopicPartitionList {
        self.list(|holding| holding.back_to.take().map(KafkaOffset::Offset))
    }
}
