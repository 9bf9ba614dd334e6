//! The partitions in this consumer's hands, each with what of it is done.

use std::{collections::BTreeMap, sync::Arc};

use super::watermark::Watermark;
use crate::event_log::{Assignment, ConsumedRecord, Offset, Partition};

/// The partitions that are assigned now. What belongs to an earlier assignment is not known here.
#[derive(Debug, Default)]
pub struct Partitions(BTreeMap<(Arc<str>, Partition), Assigned>);

#[derive(Debug)]
struct Assigned {
    generation: u64,
    watermark: Watermark,
}

impl Partitions {
    /// These are ours from now on.
    pub fn assigned(&mut self, assignments: &[Assignment]) {
        for Assignment {
            topic,
            partition,
            generation,
        } in assignments
        {
            log::info!(target: "KafkaConsumerActor", topic = &**topic, partition = *partition; "assigned");
            let assigned = Assigned {
                generation: *generation,
                watermark: Watermark::default(),
            };
            self.0.insert((topic.clone(), *partition), assigned);
        }
    }

    /// These are no longer.
    pub fn revoked(&mut self, assignments: &[Assignment]) {
        for assignment in assignments {
            let Assignment { topic, partition, .. } = assignment;
            log::info!(target: "KafkaConsumerActor", topic = &**topic, partition = *partition; "revoked");
            if self.find(assignment).is_some() {
                self.0.remove(&(topic.clone(), *partition));
            }
        }
    }

    /// A record is taken. `false`: its partition is not ours any more.
    pub fn begin(&mut self, record: &ConsumedRecord) -> bool {
        match self.find(&record.assignment()) {
            Some(assigned) => {
                assigned.watermark.begin(record.position.offset);
                true
            }
            None => false,
        }
    }

    /// A record is done; the offset to store, if there is a new one.
    pub fn done(&mut self, assignment: &Assignment, offset: Offset) -> Option<Offset> {
        self.find(assignment)?.watermark.done(offset)
    }

    fn find(&mut self, assignment: &Assignment) -> Option<&mut Assigned> {
        let assigned = self
            .0
            .get_mut(&(assignment.topic.clone(), assignment.partition))?;
        (assigned.generation == assignment.generation).then_some(assigned)
    }
}
