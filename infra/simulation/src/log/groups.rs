//! Consumer groups: who holds which partition, how far it was told, how far it is done.

use std::{collections::BTreeMap, sync::Arc};

use shared::event_log::{Assignment, LogError, Offset, Position, Signal};

use super::{Broker, Membership, Place, State, consumed, offset};
use crate::{chance::Chance, faults::Fault, lock};

#[derive(Default)]
pub(super) struct Group {
    members: BTreeMap<u64, Arc<Membership>>,
    owners: BTreeMap<Place, Owner>,
    committed: BTreeMap<Place, Offset>,
}

struct Owner {
    member: u64,
    generation: u64,
    /// The next offset to tell it.
    position: Offset,
    /// Stored by the member, not committed yet: lost if it dies now.
    stored: Option<Offset>,
}

impl Group {
    pub(super) fn committed(&self, place: &Place) -> Offset {
        self.committed.get(place).copied().unwrap_or(0)
    }

    pub(super) fn wake_owner(&self, place: &Place) {
        let member = self
            .owners
            .get(place)
            .and_then(|owner| self.members.get(&owner.member));
        member.into_iter().for_each(|member| member.wake());
    }

    fn places_of(&self, member: u64) -> Vec<Place> {
        let of = self.owners.iter().filter(|(_, owner)| owner.member == member);
        of.map(|(place, _)| place.clone()).collect()
    }

    fn commit(&mut self, place: &Place) {
        if let Some(stored) = self.owners.get_mut(place).and_then(|owner| owner.stored.take()) {
            self.committed.insert(place.clone(), stored);
        }
    }

    /// Who should hold what: whoever has it keeps it, unless it holds more than its share.
    fn target(&self, places: &[Place]) -> BTreeMap<Place, u64> {
        let share = places.len().div_ceil(self.members.len().max(1));
        let mut load: BTreeMap<u64, usize> = self.members.keys().map(|member| (*member, 0)).collect();
        let mut target = BTreeMap::new();
        for place in places {
            let owner = self.owners.get(place).map(|owner| owner.member);
            if let Some(load) = owner
                .and_then(|owner| load.get_mut(&owner))
                .filter(|load| **load < share)
            {
                *load += 1;
                target.extend(owner.map(|owner| (place.clone(), owner)));
            }
        }
        for place in places {
            if !target.contains_key(place)
                && let Some((member, load)) = load.iter_mut().min_by_key(|(member, load)| (**load, **member))
            {
                *load += 1;
                target.insert(place.clone(), *member);
            }
        }
        target
    }
}

fn assignment(place: &Place, generation: u64) -> Assignment {
    Assignment {
        topic: place.0.clone(),
        partition: place.1,
        generation,
    }
}

impl Broker {
    /// A member joins, under a new number each time.
    pub(super) fn join(&self, member: &Arc<Membership>) {
        let mut state = lock(&self.state);
        let number = state.next_number();
        member.set_number(number);
        self.wire
            .timeline
            .add(member.process.name(), || format!("joins {}", member.group));
        let group = state.groups.entry(member.group.clone()).or_default();
        group.members.insert(number, member.clone());
        self.rebalance(&mut state, &member.group);
    }

    /// A member is no longer one; what it stored is committed where it leaves by itself. `false`: it
    /// was none.
    pub(super) fn remove(&self, member: &Membership, leaves: bool) -> bool {
        let mut state = lock(&self.state);
        let Some(group) = state.groups.get_mut(&member.group) else {
            return false;
        };
        let number = member.number();
        if group.members.remove(&number).is_none() {
            return false;
        }
        let verb = if leaves { "leaves" } else { "is expelled from" };
        self.wire
            .timeline
            .add(member.process.name(), || format!("{verb} {}", member.group));
        let mut revoked = Vec::new();
        for place in group.places_of(number) {
            if leaves {
                group.commit(&place);
            }
            revoked.extend(
                group
                    .owners
                    .remove(&place)
                    .map(|owner| assignment(&place, owner.generation)),
            );
        }
        member.tell(Signal::Revoked(revoked));
        self.rebalance(&mut state, &member.group);
        true
    }

    /// A member cannot go on.
    pub(super) fn fail(&self, member: &Membership) {
        self.remove(member, false);
        member.tell(Signal::Failed(LogError::Unavailable("fenced for good".into())));
    }

    pub(super) fn rebalance(&self, state: &mut State, name: &str) {
        let mut places = Vec::new();
        let Some(group) = state.groups.get(name) else {
            return;
        };
        for (topic, content) in &state.topics {
            if group.members.values().any(|member| member.wants(topic)) {
                places.extend(
                    (0..)
                        .take(content.partitions.len())
                        .map(|partition| (topic.clone(), partition)),
                );
            }
        }
        for (place, member) in group.target(&places) {
            self.assign(state, name, &place, member);
        }
    }

    /// Moves the partition to this member, unless it has it.
    fn assign(&self, state: &mut State, name: &str, place: &Place, member: u64) {
        let generation = state.next_number();
        let Some(group) = state.groups.get_mut(name) else {
            return;
        };
        if group
            .owners
            .get(place)
            .is_some_and(|owner| owner.member == member)
        {
            return;
        }
        self.revoke(group, place);
        let owner = Owner {
            member,
            generation,
            position: group.committed(place),
            stored: None,
        };
        if let Some(member) = group.members.get(&member) {
            self.wire.timeline.add(member.process.name(), || {
                format!("is assigned {}/{} from {}", place.0, place.1, owner.position)
            });
            member.tell(Signal::Assigned(vec![assignment(place, generation)]));
            member.wake();
        }
        group.owners.insert(place.clone(), owner);
    }

    fn revoke(&self, group: &mut Group, place: &Place) {
        if !self.wire.faults.strikes(Fault::OffsetsLost) {
            group.commit(place);
        }
        let Some(owner) = group.owners.remove(place) else {
            return;
        };
        if let Some(member) = group.members.get(&owner.member) {
            member.tell(Signal::Revoked(vec![assignment(place, owner.generation)]));
        }
    }

    /// Takes some partition from whoever has it and gives it to anybody, perhaps the same.
    pub fn shuffle(&self, name: &str, chance: &Chance) {
        let mut state = lock(&self.state);
        let Some(group) = state.groups.get_mut(name) else {
            return;
        };
        let places: Vec<_> = group.owners.keys().cloned().collect();
        let members: Vec<_> = group.members.keys().copied().collect();
        if places.is_empty() || members.is_empty() {
            return;
        }
        let (place, member) = (chance.pick(&places).clone(), *chance.pick(&members));
        self.revoke(group, &place);
        self.assign(&mut state, name, &place, member);
    }

    /// The member is done with everything before `next`; committed soon.
    pub(super) fn store(&self, member: &Membership, assignment: &Assignment, next: Offset) -> bool {
        let mut state = lock(&self.state);
        let place = (assignment.topic.clone(), assignment.partition);
        let owner = state
            .groups
            .get_mut(&member.group)
            .and_then(|group| group.owners.get_mut(&place));
        match owner {
            Some(owner) if owner.member == member.number() && owner.generation == assignment.generation => {
                owner.stored = owner.stored.max(Some(next.min(owner.position)));
                true
            }
            _ => false,
        }
    }

    /// Commits what the member has stored.
    pub(super) fn flush(&self, member: &Membership) {
        if let Some(group) = lock(&self.state).groups.get_mut(&member.group) {
            for place in group.places_of(member.number()) {
                group.commit(&place);
            }
        }
    }

    /// The log has lost what this group has read: it goes on where the log ends now, as clients do that
    /// compare epochs, or at the beginning, as others do.
    fn go_back(&self, state: &mut State, name: &str, place: &Place, chance: &Chance) {
        let to = if chance.strikes(0.5) { state.end(place) } else { 0 };
        if let Some(owner) = state
            .groups
            .get_mut(name)
            .and_then(|group| group.owners.get_mut(place))
        {
            self.wire.timeline.add("log", || {
                format!(
                    "{name} goes back in {}/{} from {} to {to}",
                    place.0, place.1, owner.position
                )
            });
            (owner.position, owner.stored) = (to, None);
        }
    }

    /// Some records for this member, if there are any.
    pub(super) fn next_batch(&self, member: &Membership, chance: &Chance) -> Option<Signal> {
        let mut state = lock(&self.state);
        let mut open = Vec::new();
        for place in state.groups.get(&member.group)?.places_of(member.number()) {
            let position = |state: &State| {
                let owner = state.groups.get(&member.group)?.owners.get(&place)?;
                Some(owner.position)
            };
            if !self.has_leader(&place) {
                continue;
            }
            if position(&state)? > state.end(&place) {
                self.go_back(&mut state, &member.group, &place, chance);
            }
            if position(&state)? < state.end(&place) {
                open.push(place);
            }
        }
        if open.is_empty() {
            return None;
        }
        let place = chance.pick(&open).clone();
        let State { topics, groups, .. } = &mut *state;
        let owner = groups.get_mut(&member.group)?.owners.get_mut(&place)?;
        let partition = topics.get(&place.0)?.partitions.get(super::index(place.1))?;
        let from = usize::try_from(owner.position).ok()?;
        let records: Vec<_> = partition
            .iter()
            .enumerate()
            .skip(from)
            .take(1 + chance.below(5))
            .map(|(at, record)| {
                let position = Position {
                    topic: place.0.clone(),
                    partition: place.1,
                    offset: offset(at),
                };
                consumed(position, owner.generation, record)
            })
            .collect();
        owner.position += offset(records.len());
        Some(Signal::Records(records))
    }
}
