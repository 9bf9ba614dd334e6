//! Whether a member gets on: with its group, with reading, with what it has read.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use rdkafka::Statistics;

use super::{
    link::lock,
    member::{Holding, Member},
};
use crate::event_log::{
    LogError, Offset, Partition,
    progress::{Progress, handlers_stand_still},
};

/// What librdkafka said about reading explains a standstill for so long.
const RECENT: Duration = Duration::from_secs(120);

/// How the membership stands.
#[derive(Default)]
pub(super) struct Status {
    pub(super) joined: bool,
    /// Whether it gets partitions, or is told that there are none for it.
    pub(super) joining: Progress,
    /// How the group looks from here, as librdkafka calls it.
    pub(super) group_state: String,
    /// Nothing in hand says whether this is a member of the group, and nobody has asked.
    unsure: bool,
    /// What the group said when it was asked.
    pub(super) is_member: bool,
    /// What librdkafka last complained about, and when.
    pub(super) trouble: Option<(Duration, String)>,
    pub(super) failure: Option<LogError>,
}

impl Member {
    /// What librdkafka tells every second.
    pub(super) fn heard(&self, statistics: &Statistics) {
        let now = self.now();
        let paused = self.paused.load(Ordering::Acquire);
        let mut upsets = Vec::new();
        let (mut busy, mut idle) = (false, true);
        for (name, partitions) in lock(&self.held).iter_mut() {
            let known = statistics.topics.get(&**name);
            for (partition, holding) in partitions {
                idle = false;
                if let Some(known) = known.and_then(|topic| topic.partitions.get(partition))
                    && let Some(upset) = holding.standing.heard(known, paused, now)
                {
                    upsets.push((Arc::clone(name), *partition, upset));
                }
                busy |= holding.standing.is_busy();
            }
        }
        for (topic, partition, upset) in upsets {
            self.tell(&topic, partition, upset);
        }
        lock(&self.handling).has_work(paused && busy, now);
        if let Some(group) = &statistics.cgrp {
            let mut status = lock(&self.status);
            status.group_state = format!("{}, {}", group.state, group.join_state);
            // Under `group.protocol=consumer` a member without partitions stays in `init`.
            let settled = group.state == "up" && matches!(group.join_state.as_str(), "steady" | "init");
            status.unsure = settled && idle;
            let lost = status.joined && idle && !(settled && status.is_member);
            status.joining.has_work(lost, now);
        }
    }

    /// Partitions that may end elsewhere than librdkafka knows.
    pub(super) fn quiet(&self) -> Vec<(Arc<str>, Partition)> {
        let (now, paused) = (self.now(), self.paused.load(Ordering::Acquire));
        let held = lock(&self.held);
        let each = held.iter().flat_map(|(topic, partitions)| {
            let quiet = move |(_, holding): &(&Partition, &Holding)| paused || holding.standing.is_quiet(now);
            let place = move |(partition, _): (&Partition, &Holding)| (Arc::clone(topic), *partition);
            partitions.iter().filter(quiet).map(place)
        });
        each.collect()
    }

    /// A broker has said where a partition begins and ends.
    pub(super) fn ends(&self, topic: &str, partition: Partition, begin: Offset, end: Offset) {
        let (now, paused) = (self.now(), self.paused.load(Ordering::Acquire));
        let upset = lock(&self.held)
            .get_mut(topic)
            .and_then(|topic| topic.get_mut(&partition))
            .and_then(|holding| holding.standing.asked(begin, end, paused, now));
        if let Some(upset) = upset {
            self.tell(topic, partition, upset);
        }
    }

    /// The next record of a partition, where it is not read and nobody knows yet how old it is.
    pub(super) fn of_unknown_age(&self, topic: &str, partition: Partition) -> Option<Offset> {
        let held = lock(&self.held);
        held.get(topic)?.get(&partition)?.standing.of_unknown_age()
    }

    /// When that record was written.
    pub(super) fn written(&self, topic: &str, partition: Partition, offset: Offset, when: SystemTime) {
        let mut held = lock(&self.held);
        if let Some(holding) = held.get_mut(topic).and_then(|topic| topic.get_mut(&partition)) {
            holding.standing.written(offset, when);
        }
    }

    /// librdkafka says that something went wrong; it goes on trying by itself.
    pub(super) fn trouble(&self, reason: &str) {
        lock(&self.status).trouble = Some((self.now(), reason.to_owned()));
    }

    /// Whether the group has to be asked if this is a member of it: about once a second, while nothing
    /// that is in hand says so.
    pub(super) fn take_question(&self) -> bool {
        std::mem::take(&mut lock(&self.status).unsure)
    }

    /// The group has taken this member in, perhaps without partitions, or does not know it. A callback
    /// tells the first only where there are partitions, under `group.protocol=consumer`.
    pub(super) fn answer(&self, is_member: bool) {
        let mut status = lock(&self.status);
        status.is_member = is_member;
        if is_member && !status.joined {
            status.joined = true;
            drop(status);
            self.link.heard();
            log::info!(target: "kafka", group:% = self.group; "joined");
        }
    }

    /// Whether this is a member of the group; the reason where not.
    pub(super) fn check(&self) -> Result<(), LogError> {
        let status = lock(&self.status);
        if let Some(failure) = &status.failure {
            return Err(failure.clone());
        }
        if self.link.is_away() {
            return Err(self.link.unavailable());
        }
        if !status.joined {
            let reason = status
                .trouble
                .as_ref()
                .map_or("not a member yet", |(_, reason)| reason);
            return Err(LogError::Unavailable(format!(
                "joining the group {}: {reason}",
                self.group
            )));
        }
        let now = self.now();
        if let Some(still) = status.joining.stuck(now) {
            return Err(LogError::Unavailable(format!(
                "no assignment in the group {} for {} s: {}",
                self.group,
                still.as_secs(),
                status.group_state
            )));
        }
        let trouble = status.trouble.clone();
        drop(status);
        if let Some(still) = lock(&self.handling).stuck(now) {
            return Err(LogError::Unavailable(handlers_stand_still(still)));
        }
        self.check_reading(now, trouble)
    }

    /// Whether every partition with something to read is read; the reason where not.
    fn check_reading(&self, now: Duration, trouble: Option<(Duration, String)>) -> Result<(), LogError> {
        for (topic, partitions) in lock(&self.held).iter() {
            for (partition, holding) in partitions {
                let standing = &holding.standing;
                if let Some((still, (from, end))) = standing.reading.stuck(now).zip(standing.unread()) {
                    let recent = trouble.filter(|(when, _)| now.saturating_sub(*when) < RECENT);
                    let reason = recent.map_or_else(|| "no reason was told".into(), |(_, reason)| reason);
                    return Err(LogError::Unavailable(format!(
                        "{topic}/{partition} has records from offset {from} to {} and none came for {} s: {reason}",
                        end - 1,
                        still.as_secs()
                    )));
                }
            }
        }
        Ok(())
    }
}
