//! Members that are busy while the group rebalances, on a real Kafka: nothing is lost, what is read
//! twice is what was not done, and a partition that moves stands still for a bounded time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use shared::event_log::{
    ConsumedRecord, EventLog as _,
    kafka::{GroupProtocol, KafkaLog, KafkaSettings},
};

use super::{
    Member, PATIENCE,
    real::{real, real_topic},
    record, text,
};

const PARTITIONS: usize = 6;
/// How long the work on a record takes: what is under way when a partition is taken away.
const WORK: Duration = Duration::from_millis(150);
/// Between a revocation and the moment in which the busy member learns of it, and a little more.
const UNAWARE: Duration = Duration::from_millis(300);

/// What a protocol may cost, far above what was measured, for machines that do other things too.
struct Bounds {
    protocol: GroupProtocol,
    /// A partition that moves to a member that joins.
    moving: Duration,
    /// A member's partitions after it has left cleanly.
    taking_over: Duration,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebalance_of_busy_members_loses_nothing_and_repeats_only_what_was_not_done_classic() {
    rebalance(Bounds {
        protocol: GroupProtocol::Classic,
        moving: Duration::from_secs(8),
        taking_over: Duration::from_secs(4),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebalance_of_busy_members_loses_nothing_and_repeats_only_what_was_not_done_consumer_protocol() {
    rebalance(Bounds {
        protocol: GroupProtocol::Consumer,
        // The broker's heartbeat of 5 s decides.
        moving: Duration::from_secs(15),
        taking_over: Duration::from_secs(12),
    })
    .await;
}

/// A member that needs a while for each record and stores what is done, in order.
struct Busy {
    member: Member,
    /// When each record of the member came.
    received: Vec<Instant>,
    done: usize,
    /// Records that were not done, as far as it knew, when their partition went.
    undone: usize,
}

impl Busy {
    fn join(log: &KafkaLog, topic: &str) -> Busy {
        let mut member = Member::join(log, topic, topic);
        member.store = false;
        Busy {
            member,
            received: Vec::new(),
            done: 0,
            undone: 0,
        }
    }

    /// Takes what is there and does what is due.
    async fn turn(&mut self) {
        let before: BTreeSet<u64> = self.generations();
        self.member.step(Duration::from_millis(1)).await;
        let now = Instant::now();
        self.received.resize(self.member.records.len(), now);
        let after = self.generations();
        let taken = |generation: &u64| before.contains(generation) && !after.contains(generation);
        let undone = self.member.records.iter().zip(&self.received);
        self.undone += undone
            .filter(|(record, came)| taken(&record.generation) && **came + WORK + UNAWARE > now)
            .count();
        while self
            .received
            .get(self.done)
            .is_some_and(|came| *came + WORK <= now)
        {
            let record = &self.member.records[self.done];
            self.member
                .consumer
                .store(&record.assignment(), record.position.offset + 1);
            self.done += 1;
        }
    }

    /// Leaves as a service does: takes nothing more, finishes what it has, stores it, goes.
    async fn leave(&mut self) {
        self.member.consumer.pause();
        let mut last = Instant::now();
        while self.done < self.received.len() || last.elapsed() < WORK {
            let before = self.received.len();
            self.turn().await;
            if self.received.len() > before {
                last = Instant::now();
            }
        }
        self.member.close().await;
        assert_eq!(
            self.received.len(),
            self.member.records.len(),
            "a record came while paused"
        );
    }

    fn generations(&self) -> BTreeSet<u64> {
        self.member.held.values().map(|held| held.generation).collect()
    }

    fn came(&self) -> impl Iterator<Item = (i32, Instant)> {
        let partitions = self.member.records.iter().map(|record| record.position.partition);
        partitions.zip(self.received.iter().copied())
    }
}

async fn until(what: &str, busy: &mut [&mut Busy], enough: impl Fn(&[&mut Busy]) -> bool) {
    let begin = Instant::now();
    while !enough(busy) {
        for busy in busy.iter_mut() {
            busy.turn().await;
        }
        assert!(begin.elapsed() < PATIENCE, "{what} takes too long");
    }
}

/// The longest time in which nothing came of a partition, within `window`, over all of `partitions`.
fn longest_pause(
    busy: &[&Busy],
    partitions: impl IntoIterator<Item = i32>,
    window: (Instant, Instant),
) -> Duration {
    let mut longest = Duration::ZERO;
    for partition in partitions {
        let came = busy.iter().flat_map(|busy| busy.came());
        let of_it = came.filter(|(other, _)| *other == partition).map(|(_, at)| at);
        let mut times: Vec<Instant> = of_it.filter(|at| *at >= window.0 && *at <= window.1).collect();
        times.extend([window.0, window.1]);
        times.sort_unstable();
        let pauses = times.windows(2).map(|pair| pair[1] - pair[0]);
        longest = pauses.fold(longest, Duration::max);
    }
    longest
}

/// A second member joins and leaves while 1,000 records a second pass.
async fn rebalance(bounds: Bounds) {
    let Some(kafka) = real() else {
        return;
    };
    let protocol = bounds.protocol;
    let settings = KafkaSettings {
        group_protocol: protocol,
        ..kafka
    };
    let log = Arc::new(KafkaLog::new(settings).unwrap());
    let topic = real_topic(&log, PARTITIONS as i32).await;
    let mut first = Busy::join(&log, &topic);
    until("the first assignment", &mut [&mut first], |busy| {
        busy[0].member.held.len() == PARTITIONS
    })
    .await;
    let stop = Arc::new(AtomicBool::new(false));
    let publishing = tokio::spawn(publish(log.clone(), topic.clone(), stop.clone()));
    until("records", &mut [&mut first], |busy| busy[0].received.len() > 500).await;

    let begin = Instant::now();
    let mut second = Busy::join(&log, &topic);
    until("sharing", &mut [&mut first, &mut second], |busy| {
        let shared = busy.iter().all(|busy| busy.member.held.len() == PARTITIONS / 2);
        shared && busy[1].received.len() > 300 && is_past(busy[1], busy[0])
    })
    .await;
    let shared = Instant::now();
    let moved: Vec<i32> = second.member.held.keys().copied().collect();
    let stayed: Vec<i32> = first.member.held.keys().copied().collect();
    let both = [&first, &second];
    let moving = longest_pause(&both, moved.iter().copied(), (begin, shared));
    let staying = longest_pause(&both, stayed, (begin, shared));

    let twice_at_join = twice(&first, &second);

    let leaving = Instant::now();
    tokio::join!(second.leave(), async {
        while leaving.elapsed() < 3 * WORK {
            first.turn().await;
        }
    });
    let begin = Instant::now();
    until("taking over", &mut [&mut first], |busy| {
        let came_of = |partition| busy[0].came().any(|(of, at)| of == partition && at > begin);
        moved.iter().copied().all(came_of)
    })
    .await;
    let taken_over = begin.elapsed();
    stop.store(true, Ordering::Relaxed);
    let published = publishing.await.unwrap();
    until("everything", &mut [&mut first], |busy| {
        busy[0].member.values().union(&second.member.values()).count() == published
    })
    .await;

    let twice_at_leave = twice(&first, &second) - twice_at_join;
    let undone = first.undone;
    eprintln!(
        "{protocol:?}: {published} records; at the join {twice_at_join} read twice ({undone} were under way), \
         partitions that moved paused for {moving:?}, those that stayed for {staying:?}; at the leave \
         {twice_at_leave} read twice, taken over {taken_over:?} after it"
    );
    assert!(
        twice_at_join <= undone,
        "{twice_at_join} read twice, but only {undone} were under way"
    );
    assert_eq!(
        twice_at_leave, 0,
        "a member that finished what it had leaves nothing to repeat"
    );
    assert!(
        moving < bounds.moving && staying < bounds.moving,
        "{moving:?}, {staying:?}"
    );
    assert!(taken_over < bounds.taking_over, "{taken_over:?}");
    in_order(&first.member);
    in_order(&second.member);
    first.member.consumer.check().unwrap();
    first.member.close().await;
}

/// Whether a member has new records of each of its partitions: all that another had before has come
/// again by then, if it comes again.
fn is_past(busy: &Busy, other: &Busy) -> bool {
    let known = other.member.values();
    let value = |record: &ConsumedRecord| text(&record.value).parse().unwrap_or_default();
    let new = busy
        .member
        .records
        .iter()
        .filter(|record| !known.contains(&value(record)));
    let of: BTreeSet<i32> = new.map(|record| record.position.partition).collect();
    busy.member.held.keys().all(|partition| of.contains(partition))
}

/// Records that came more than once.
fn twice(first: &Busy, second: &Busy) -> usize {
    let different = first.member.values().union(&second.member.values()).count();
    first.member.records.len() + second.member.records.len() - different
}

/// 1,000 records a second, in bursts, under 100 keys; how many there were.
async fn publish(log: Arc<KafkaLog>, topic: String, stop: Arc<AtomicBool>) -> usize {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let mut deliveries = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        for _ in 0..20 {
            let number = deliveries.len();
            deliveries.push(log.publish(record(&topic, &format!("k{}", number % 100), number)));
        }
    }
    let delivered: Result<Vec<_>, _> = join_all(deliveries).await.into_iter().collect();
    delivered.unwrap().len()
}

/// Within an assignment the records of a key come in their order.
fn in_order(member: &Member) {
    let mut last = BTreeMap::new();
    for record in &member.records {
        let number: u64 = text(&record.value).parse().unwrap();
        let before = last.insert((record.key.clone(), record.generation), number);
        assert!(before.is_none_or(|before| before < number), "out of order");
    }
}
