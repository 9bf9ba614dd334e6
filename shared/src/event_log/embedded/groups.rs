//! Consumer groups: who holds which partition, how far it was told, how far it is done.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc::UnboundedSender},
    time::Instant,
};

use super::{MAX_AHEAD, Topic, tables::Span};
use crate::event_log::{
    Assignment, ConsumedRecord, Lag, Offset, Partition, Signal, progress::Progress, under_way::UnderWay,
};

/// Numbers members in the order in which they joined.
pub(super) type MemberId = u64;
/// A partition of a topic.
pub(super) type Place = (Arc<str>, Partition);

#[derive(Debug, Default)]
pub(super) struct Group {
    members: BTreeMap<MemberId, Member>,
    owners: BTreeMap<Place, Owner>,
    /// Everything before is done.
    stored: BTreeMap<Place, Offset>,
    /// Places whose stored offset is newer than what is on disk.
    unsaved: BTreeSet<Place>,
}

#[derive(Debug)]
struct Member {
    topics: BTreeSet<Arc<str>>,
    signals: UnboundedSender<Signal>,
    wake: Arc<Notify>,
    paused: bool,
    /// Whether handlers get on with what they have while no more is taken.
    handling: Progress,
    joined: Instant,
    /// With which of its partitions the next delivery begins, so that none starves.
    turn: usize,
}

#[derive(Debug)]
struct Owner {
    member: MemberId,
    generation: u64,
    /// The next offset to tell it.
    position: Offset,
    /// What it was told and has not done, with when it was told.
    under_way: UnderWay<Instant>,
}

impl Group {
    /// An offset found on disk.
    pub(super) fn restore(&mut self, place: Place, next: Offset) {
        self.stored.insert(place, next);
    }

    pub(super) fn join(
        &mut self,
        member: MemberId,
        topics: BTreeSet<Arc<str>>,
        signals: UnboundedSender<Signal>,
        wake: Arc<Notify>,
    ) {
        self.members.insert(
            member,
            Member {
                topics,
                signals,
                wake,
                paused: false,
                handling: Progress::default(),
                joined: Instant::now(),
                turn: 0,
            },
        );
    }

    /// It is told that its partitions are revoked; they go to others with the next rebalance.
    pub(super) fn remove(&mut self, member: MemberId) {
        let Some(left) = self.members.remove(&member) else {
            return;
        };
        let lost: Vec<Place> = self.places_of(member);
        let revoked = lost
            .iter()
            .filter_map(|place| self.take_from_owner(place))
            .collect();
        send(&left, revoked, Signal::Revoked);
        left.wake.notify_one();
    }

    pub(super) fn contains(&self, member: MemberId) -> bool {
        self.members.contains_key(&member)
    }

    pub(super) fn wake_all(&self) {
        self.members.values().for_each(|member| member.wake.notify_one());
    }

    pub(super) fn wake_owner(&self, place: &Place) {
        if let Some(member) = self
            .owners
            .get(place)
            .and_then(|owner| self.members.get(&owner.member))
        {
            member.wake.notify_one();
        }
    }

    pub(super) fn pause(&mut self, member: MemberId, paused: bool) {
        let busy = self.is_busy(member);
        if let Some(member) = self.members.get_mut(&member) {
            member.paused = paused;
            let now = member.joined.elapsed();
            member.handling.has_work(paused && busy, now);
            member.wake.notify_one();
        }
    }

    /// Whether a member has records that are not done.
    fn is_busy(&self, member: MemberId) -> bool {
        let mut owned = self.owners.values().filter(|owner| owner.member == member);
        owned.any(|owner| owner.under_way.first().is_some())
    }

    /// For how long a member takes no more and does nothing of what it has, once that is too long.
    pub(super) fn stuck(&self, member: MemberId) -> Option<Duration> {
        let member = self.members.get(&member)?;
        member.handling.stuck(member.joined.elapsed())
    }

    /// Nothing where the assignment is over.
    pub(super) fn store(&mut self, member: MemberId, assignment: &Assignment, next: Offset) {
        let place = (Arc::clone(&assignment.topic), assignment.partition);
        let Some(owner) = self.owners.get_mut(&place) else {
            return;
        };
        if owner.member != member || owner.generation != assignment.generation {
            return;
        }
        // Nobody can be done with what was never delivered.
        let next = next.min(owner.position);
        owner.under_way.done(next);
        let busy = self.is_busy(member);
        if let Some(member) = self.members.get_mut(&member) {
            let now = member.joined.elapsed();
            member.handling.moved(now);
            member.handling.has_work(member.paused && busy, now);
        }
        if next > self.stored_at(&place) {
            self.stored.insert(place.clone(), next);
            self.unsaved.insert(place);
            // To write it soon, and because it may be told more now.
            self.members
                .get(&member)
                .into_iter()
                .for_each(|member| member.wake.notify_one());
        }
    }

    pub(super) fn has_unsaved(&self) -> bool {
        !self.unsaved.is_empty()
    }

    /// Offsets to write; they count as saved from now on.
    pub(super) fn take_unsaved(&mut self) -> Vec<(Place, Offset)> {
        let unsaved = std::mem::take(&mut self.unsaved);
        unsaved
            .into_iter()
            .map(|place| (place.clone(), self.stored_at(&place)))
            .collect()
    }

    /// They were not written after all.
    pub(super) fn save_again(&mut self, place: &Place) {
        self.unsaved.insert(place.clone());
    }

    /// What may be told to a member now; `None` where it is no longer in the group.
    pub(super) fn deliverable(
        &mut self,
        member: MemberId,
        topics: &BTreeMap<Arc<str>, Topic>,
    ) -> Option<Vec<Span>> {
        let (paused, turn) = {
            let member = self.members.get_mut(&member)?;
            member.turn = member.turn.wrapping_add(1);
            (member.paused, member.turn)
        };
        let mut spans = Vec::new();
        if paused {
            return Some(spans);
        }
        for (place, owner) in self.owners.iter().filter(|(_, owner)| owner.member == member) {
            let Some(topic) = topics.get(&place.0) else {
                continue;
            };
            let end = usize::try_from(place.1)
                .ok()
                .and_then(|partition| topic.ends.get(partition));
            let to = end.copied().unwrap_or(0).min(self.stored_at(place) + MAX_AHEAD);
            if owner.position < to {
                spans.push(Span {
                    topic: Arc::clone(&place.0),
                    id: topic.id,
                    partition: place.1,
                    generation: owner.generation,
                    from: owner.position,
                    to,
                });
            }
        }
        if !spans.is_empty() {
            let first = turn % spans.len();
            spans.rotate_left(first);
        }
        Some(spans)
    }

    /// Tells a member what was read for it, unless a rebalance or a pause came between.
    pub(super) fn deliver(&mut self, member: MemberId, mut records: Vec<ConsumedRecord>) {
        let Some(receiver) = self.members.get(&member) else {
            return;
        };
        if receiver.paused {
            return;
        }
        let now = Instant::now();
        records.retain(|record| {
            let place = (Arc::clone(&record.position.topic), record.position.partition);
            match self.owners.get_mut(&place) {
                Some(owner) if owner.generation == record.generation => {
                    owner.position = record.position.offset + 1;
                    owner.under_way.delivered(record.position.offset, now);
                    true
                }
                _ => false,
            }
        });
        if !records.is_empty() {
            // Where nobody listens any more the pump ends and leaves.
            drop(receiver.signals.send(Signal::Records(records)));
        }
    }

    /// How far the group is behind in what a member holds.
    pub(super) fn lag(&self, member: MemberId, topics: &BTreeMap<Arc<str>, Topic>) -> Vec<Lag> {
        let owned = self.owners.iter().filter(|(_, owner)| owner.member == member);
        let lag = owned.filter_map(|(place, owner)| {
            let end = topics.get(&place.0)?.ends.get(usize::try_from(place.1).ok()?)?;
            Some(Lag {
                topic: Arc::clone(&place.0),
                partition: place.1,
                records: u64::try_from(end - self.stored_at(place)).unwrap_or(0),
                oldest: owner.under_way.oldest().map(|told| told.elapsed()),
            })
        });
        lag.collect()
    }

    /// Shares the partitions out: who has one keeps it unless another has at least two fewer.
    /// First everything is revoked that moves, then it is assigned under new generations.
    pub(super) fn rebalance(&mut self, topics: &BTreeMap<Arc<str>, Topic>, last_number: &mut u64) {
        let target = self.target(topics);
        let moving: Vec<Place> = self
            .owners
            .iter()
            .filter(|(place, owner)| target.get(*place) != Some(&owner.member))
            .map(|(place, _)| place.clone())
            .collect();
        let mut revoked = BTreeMap::<MemberId, Vec<Assignment>>::new();
        for place in moving {
            let member = self.owners.get(&place).map(|owner| owner.member);
            if let (Some(member), Some(assignment)) = (member, self.take_from_owner(&place)) {
                revoked.entry(member).or_default().push(assignment);
            }
        }
        let mut assigned = BTreeMap::<MemberId, Vec<Assignment>>::new();
        for (place, member) in target {
            if self.owners.contains_key(&place) {
                continue;
            }
            *last_number += 1;
            let generation = *last_number;
            let position = self.stored_at(&place);
            assigned
                .entry(member)
                .or_default()
                .push(assignment(&place, generation));
            self.owners.insert(
                place,
                Owner {
                    member,
                    generation,
                    position,
                    under_way: UnderWay::default(),
                },
            );
        }
        for (signal, changes) in [
            (Signal::Revoked as fn(_) -> _, revoked),
            (Signal::Assigned as fn(_) -> _, assigned),
        ] {
            for (member, assignments) in changes {
                if let Some(member) = self.members.get(&member) {
                    send(member, assignments, signal);
                    member.wake.notify_one();
                }
            }
        }
    }

    fn target(&self, topics: &BTreeMap<Arc<str>, Topic>) -> BTreeMap<Place, MemberId> {
        let mut load: BTreeMap<MemberId, usize> = self.members.keys().map(|member| (*member, 0)).collect();
        let mut target = BTreeMap::new();
        let mut free = Vec::new();
        for (name, topic) in topics {
            for partition in (0..).take(topic.ends.len()) {
                let place = (Arc::clone(name), partition);
                match self
                    .owners
                    .get(&place)
                    .filter(|owner| self.wants(owner.member, name))
                {
                    Some(owner) => {
                        *load.entry(owner.member).or_default() += 1;
                        target.insert(place, owner.member);
                    }
                    None => free.push(place),
                }
            }
        }
        for place in free {
            let least = self.least_loaded(&place.0, &load);
            if let Some((member, _)) = least {
                *load.entry(member).or_default() += 1;
                target.insert(place, member);
            }
        }
        // Each move makes the loads more even, so this ends.
        while let Some((place, to)) = self.next_move(&target, &load) {
            if let Some(from) = target.insert(place, to) {
                *load.entry(from).or_default() -= 1;
                *load.entry(to).or_default() += 1;
            }
        }
        target
    }

    /// From the fullest member that can give one away, the last of its partitions.
    fn next_move(
        &self,
        target: &BTreeMap<Place, MemberId>,
        load: &BTreeMap<MemberId, usize>,
    ) -> Option<(Place, MemberId)> {
        target
            .iter()
            .filter_map(|(place, from)| {
                let (to, least) = self.least_loaded(&place.0, load)?;
                let has = load.get(from).copied().unwrap_or(0);
                (has > least + 1).then_some((has, place, to))
            })
            .max_by_key(|(has, place, _)| (*has, (*place).clone()))
            .map(|(_, place, to)| (place.clone(), to))
    }

    fn least_loaded(&self, topic: &Arc<str>, load: &BTreeMap<MemberId, usize>) -> Option<(MemberId, usize)> {
        load.iter()
            .filter(|(member, _)| self.wants(**member, topic))
            .min_by_key(|(member, load)| (**load, **member))
            .map(|(member, load)| (*member, *load))
    }

    fn wants(&self, member: MemberId, topic: &Arc<str>) -> bool {
        self.members
            .get(&member)
            .is_some_and(|member| member.topics.contains(topic))
    }

    fn places_of(&self, member: MemberId) -> Vec<Place> {
        self.owners
            .iter()
            .filter(|(_, owner)| owner.member == member)
            .map(|(place, _)| place.clone())
            .collect()
    }

    fn take_from_owner(&mut self, place: &Place) -> Option<Assignment> {
        self.owners
            .remove(place)
            .map(|owner| assignment(place, owner.generation))
    }

    fn stored_at(&self, place: &Place) -> Offset {
        self.stored.get(place).copied().unwrap_or(0)
    }
}

fn assignment(place: &Place, generation: u64) -> Assignment {
    Assignment {
        topic: Arc::clone(&place.0),
        partition: place.1,
        generation,
    }
}

fn send(member: &Member, assignments: Vec<Assignment>, signal: impl FnOnce(Vec<Assignment>) -> Signal) {
    if !assignments.is_empty() {
        drop(member.signals.send(signal(assignments)));
    }
}
