//! What it costs to choose the commands of a round: nothing in their way, and a queue that mostly
//! stands behind a round in flight.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use shared::{
    actors::repository::planner::{RoundPlanner, Waiting},
    document_store::DocumentKey,
};
use tokio::time::Instant;
use uuid::Uuid;

/// As in the services.
const COMMANDS_IN_A_ROUND: usize = 256;

/// Like a parcel and the shelf that it lies on: two documents and the key of its event.
struct Task([DocumentKey; 3]);

impl Waiting for Task {
    fn documents(&self) -> &[DocumentKey] {
        &self.0
    }

    fn is_expired(&self, _: Instant) -> bool {
        false
    }
}

fn task(parcel: usize, shelves: usize) -> Task {
    let key = |collection, id: usize| DocumentKey {
        collection,
        // Scattered, as ids are.
        id: Uuid::new_v5(&Uuid::NAMESPACE_OID, &id.to_le_bytes()),
    };
    let shelf = parcel % shelves;
    Task([
        key("shelves", shelf),
        key("parcels", parcel),
        key("(lane)", shelf),
    ])
}

/// So many wait, and a round is in flight.
fn busy_planner(waiting: usize, shelves: usize) -> RoundPlanner<Task> {
    let mut planner = RoundPlanner::default();
    (0..COMMANDS_IN_A_ROUND).for_each(|parcel| planner.push(task(parcel, shelves)));
    next_round(&mut planner);
    (0..waiting).for_each(|parcel| planner.push(task(COMMANDS_IN_A_ROUND + parcel, shelves)));
    planner
}

fn next_round(planner: &mut RoundPlanner<Task>) -> Vec<Task> {
    let never = |_: Task| unreachable!("nothing expires here");
    planner.next_round(COMMANDS_IN_A_ROUND, usize::MAX, Instant::now(), never)
}

fn round_planner(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("the next round while one is in flight");
    for (name, waiting, shelves) in [
        ("256 wait, of many shelves", 256, 100_000),
        ("2,048 wait, of 1,000 shelves", 2048, 1000),
        ("2,048 wait, all of one shelf", 2048, 1),
    ] {
        group.throughput(Throughput::Elements(waiting as u64));
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                || busy_planner(waiting, shelves),
                next_round,
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, round_planner);
criterion_main!(benches);
