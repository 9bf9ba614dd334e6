//! Which of the commands that wait make up the next round.
//!
//! Two rounds never hold the same claim at a time, and a command never overtakes another one that
//! it shares a claim with: what one has to wait for is blocked for all behind it, too.

use std::collections::{BTreeSet, VecDeque};

use tokio::time::Instant;

use crate::document_store::DocumentKey;

/// How far a round looks for commands whose documents are free.
const LOOK_AHEAD: usize = 2048;

/// Something that waits for its round.
pub trait Waiting {
    /// The documents that it reads or writes. No two rounds have one at the same time.
    fn documents(&self) -> &[DocumentKey];
    /// About how large what it writes is.
    fn bytes(&self) -> usize {
        0
    }
    /// Whether it is not to be begun any more.
    fn is_expired(&self, now: Instant) -> bool;
}

impl<T: Waiting + ?Sized> Waiting for Box<T> {
    fn documents(&self) -> &[DocumentKey] {
        (**self).documents()
    }

    fn bytes(&self) -> usize {
        (**self).bytes()
    }

    fn is_expired(&self, now: Instant) -> bool {
        (**self).is_expired(now)
    }
}

/// What waits, in the order in which it arrived, and what rounds in flight hold.
#[derive(Debug)]
pub struct RoundPlanner<T> {
    waiting: VecDeque<T>,
    /// Claims of rounds in flight.
    busy: BTreeSet<DocumentKey>,
}

impl<T> Default for RoundPlanner<T> {
    fn default() -> RoundPlanner<T> {
        RoundPlanner {
            waiting: VecDeque::new(),
            busy: BTreeSet::new(),
        }
    }
}

impl<T: Waiting> RoundPlanner<T> {
    /// Behind all others.
    pub fn push(&mut self, task: T) {
        self.waiting.push_back(task);
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// At most so many of those that wait, and of so many bytes (but one of any size), in their order,
    /// without those whose documents are held or that stand behind such a one. Their documents are held
    /// until they are [released](Self::release). The expired ones that it meets are given up.
    pub fn next_round(
        &mut self,
        at_most: usize,
        bytes_at_most: usize,
        now: Instant,
        mut give_up: impl FnMut(T),
    ) -> Vec<T> {
        let mut bytes = 0;
        let mut blocked = self.busy.clone();
        let mut round: Vec<T> = Vec::new();
        let mut passed_over = VecDeque::new();
        for _ in 0..LOOK_AHEAD {
            if round.len() == at_most {
                break;
            }
            let Some(task) = self.waiting.pop_front() else {
                break;
            };
            if task.is_expired(now) {
                give_up(task);
            } else if !round.is_empty() && bytes + task.bytes() > bytes_at_most {
                passed_over.push_back(task);
                break;
            } else if task.documents().iter().any(|key| blocked.contains(key)) {
                blocked.extend(task.documents());
                passed_over.push_back(task);
            } else {
                bytes += task.bytes();
                round.push(task);
            }
        }
        while let Some(task) = passed_over.pop_back() {
            self.waiting.push_front(task);
        }
        self.busy.extend(round.iter().flat_map(Waiting::documents));
        round
    }

    /// Whether a round in flight holds it.
    pub fn is_held(&self, key: &DocumentKey) -> bool {
        self.busy.contains(key)
    }

    /// What a round has left over holds these.
    pub fn hold(&mut self, documents: Vec<DocumentKey>) {
        self.busy.extend(documents);
    }

    /// A round has ended: its documents are free.
    pub fn release(&mut self, documents: &[DocumentKey]) {
        for key in documents {
            self.busy.remove(key);
        }
    }

    /// Gives up all that is expired.
    pub fn expire(&mut self, now: Instant, mut give_up: impl FnMut(T)) {
        for task in std::mem::take(&mut self.waiting) {
            if task.is_expired(now) {
                give_up(task);
            } else {
                self.waiting.push_back(task);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;

    struct Task {
        name: &'static str,
        documents: Vec<DocumentKey>,
        deadline: Option<Instant>,
        bytes: usize,
    }

    impl Waiting for Task {
        fn documents(&self) -> &[DocumentKey] {
            &self.documents
        }

        fn bytes(&self) -> usize {
            self.bytes
        }

        fn is_expired(&self, now: Instant) -> bool {
            self.deadline.is_some_and(|deadline| deadline <= now)
        }
    }

    fn document(id: u128) -> DocumentKey {
        DocumentKey {
            collection: "documents",
            id: Uuid::from_u128(id),
        }
    }

    fn planner(tasks: &[(&'static str, &[u128])]) -> RoundPlanner<Task> {
        let mut planner = RoundPlanner::default();
        for (name, documents) in tasks {
            planner.push(Task {
                name,
                documents: documents.iter().copied().map(document).collect(),
                deadline: None,
                bytes: 1,
            });
        }
        planner
    }

    fn next(planner: &mut RoundPlanner<Task>, at_most: usize) -> Vec<&'static str> {
        let round = planner.next_round(at_most, 100, Instant::now(), |task| {
            panic!("{} is given up", task.name)
        });
        round.iter().map(|task| task.name).collect()
    }

    #[test]
    fn a_round_takes_what_waits_in_its_order_and_no_more_than_it_may() {
        let mut planner = planner(&[("a", &[1]), ("b", &[1]), ("c", &[2])]);
        assert_eq!(
            next(&mut planner, 2),
            ["a", "b"],
            "commands on one document share a round"
        );
        assert_eq!(next(&mut planner, 2), ["c"]);
        assert!(planner.is_empty());
    }

    #[test]
    fn what_a_round_in_flight_holds_waits_and_the_rest_does_not() {
        let mut planner = planner(&[("a", &[1]), ("b", &[1]), ("c", &[2])]);
        assert_eq!(next(&mut planner, 1), ["a"]);
        assert_eq!(next(&mut planner, 9), ["c"]);
        assert_eq!(next(&mut planner, 9), Vec::<&str>::new());
        assert!(planner.is_held(&document(1)) && !planner.is_held(&document(3)));
        planner.release(&[document(1)]);
        assert_eq!(next(&mut planner, 9), ["b"]);
    }

    #[test]
    fn nothing_overtakes_what_it_shares_a_claim_with() {
        let mut planner = planner(&[
            ("a", &[1]),
            ("b", &[1, 2]),
            ("c", &[2, 3]),
            ("d", &[3]),
            ("e", &[4]),
        ]);
        assert_eq!(next(&mut planner, 1), ["a"]);
        assert_eq!(next(&mut planner, 9), ["e"], "c stands behind b, and d behind c");
        planner.release(&[document(1)]);
        assert_eq!(next(&mut planner, 9), ["b", "c", "d"]);
    }

    #[test]
    fn a_round_takes_no_more_bytes_than_it_may_but_one_of_any_size() {
        let mut planner = planner(&[("a", &[1]), ("b", &[2]), ("c", &[3]), ("d", &[4])]);
        for (task, bytes) in planner.waiting.iter_mut().zip([60, 40, 1, 500]) {
            task.bytes = bytes;
        }
        assert_eq!(next(&mut planner, 9), ["a", "b"]);
        assert_eq!(next(&mut planner, 9), ["c"], "in their order");
        assert_eq!(next(&mut planner, 9), ["d"]);
    }

    #[test]
    fn what_is_expired_is_given_up_and_blocks_nobody() {
        let now = Instant::now();
        let mut planner = planner(&[("a", &[1])]);
        for (name, deadline) in [("b", now), ("c", now + Duration::from_secs(1))] {
            planner.push(Task {
                name,
                documents: vec![document(2)],
                deadline: Some(deadline),
                bytes: 1,
            });
        }
        let mut given_up = Vec::new();
        let round = planner.next_round(9, 100, now, |task| given_up.push(task.name));
        assert_eq!(round.iter().map(|task| task.name).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(given_up, ["b"]);

        planner.push(Task {
            name: "d",
            documents: vec![document(1)],
            deadline: Some(now),
            bytes: 1,
        });
        planner.expire(now, |task| given_up.push(task.name));
        assert_eq!(given_up, ["b", "d"], "behind a held claim, too");
        assert!(planner.is_empty());
    }
}
