//! The partitions in this consumer's hands, each with what of it is done.

use std::{collections::BTreeMap, sync::Arc};

use super::{lanes::Forgotten, watermark::Watermark};
use crate::event_log::{Assignment, ConsumedRecord, Offset, Partition};

/// The partitions that are assigned now. What belongs to an earlier assignment is not known here.
#[derive(Debug, Default)]
pub struct Partitions(BTreeMap<(Arc<str>, Partition), Assigned>);

#[derive(Debug)]
struct Assigned {
    generation: u64,
    watermark: Watermark,
    /// What came before it was known which lanes are parked.
    held: Option<Vec<ConsumedRecord>>,
}

impl Partitions {
    /// These are ours from now on; their records are held until [`Partitions::open`].
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
                held: Some(Vec::new()),
            };
            self.0.insert((topic.clone(), *partition), assigned);
        }
    }

    /// These are no longer; what of them was held is forgotten.
    pub fn revoked(&mut self, assignments: &[Assignment]) -> Forgotten {
        let mut held = Vec::new();
        for assignment in assignments {
            let Assignment { topic, partition, .. } = assignment;
            log::info!(target: "KafkaConsumerActor", topic = &**topic, partition = *partition; "revoked");
            if let Some(found) = self.find(assignment) {
                held.extend(found.held.take().into_iter().flatten());
                self.0.remove(&(topic.clone(), *partition));
            }
        }
        Forgotten::of(held.iter().map(ConsumedRecord::bytes))
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

    /// Holds the record, if its partition is not open yet; else it is to be handled.
    pub fn hold(&mut self, record: ConsumedRecord) -> Option<ConsumedRecord> {
        match self
            .find(&record.assignment())
            .and_then(|found| found.held.as_mut())
        {
            Some(held) => {
                held.push(record);
                None
            }
            None => Some(record),
        }
    }

    /// The parked lanes of this partition are known: what was held, to be handled now.
    pub fn open(&mut self, assignment: &Assignment) -> Vec<ConsumedRecord> {
        let held = self.find(assignment).and_then(|found| found.held.take());
        held.unwrap_or_default()
    }

    /// Forgets what is held.
    pub fn forget_held(&mut self) -> Forgotten {
        let held = self.0.values_mut().filter_map(|found| found.held.as_mut());
        let held: Vec<_> = held.flat_map(std::mem::take).collect();
        Forgotten::of(held.iter().map(ConsumedRecord::bytes))
    }

    /// A record is done; the offset to store, if there is a new one.
    pub fn done(&mut self, assignment: &Assignment, offset: Offset) -> Option<Offset> {
        self.find(assignment)?.watermark.done(offset)
    }

    /// Whether this assignment is not over.
    pub fn is_ours(&mut self, assignment: &Assignment) -> bool {
        self.find(assignment).is_some()
    }

    /// The assignments that are not over.
    pub fn assignments(&self) -> Vec<Assignment> {
        let of = |((topic, partition), assigned): (&(Arc<str>, Partition), &Assigned)| Assignment {
            topic: topic.clone(),
            partition: *partition,
            generation: assigned.generation,
        };
        self.0.iter().map(of).collect()
    }

    fn find(&mut self, assignment: &Assignment) -> Option<&mut Assigned> {
        let assigned = self
            .0
            .get_mut(&(assignment.topic.clone(), assignment.partition))?;
        (assigned.generation == assignment.generation).then_some(assigned)
    }
}
