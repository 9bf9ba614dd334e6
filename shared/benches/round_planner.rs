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

/// Like the reservation of credit for an order: two documents and the key of its event.
struct Task([DocumentKey; 3]);

impl Waiting for Task {
    fn documents(&self) -> &[DocumentKey] {
        &self.0
    }

    fn is_expired(&self, _: Instant) -> bool {
        false
    }
}

fn task(order: usize, customers: usize) -> Task {
    let key = |collection, id: usize| DocumentKey {
        collection,
        // Scattered, as ids are.
        id: Uuid::new_v5(&Uuid::NAMESPACE_OID, &id.to_le_bytes()),
    };
    let customer = order % customers;
    Task([
        key("customers", customer),
        key("reservations", order),
        key("(lane)", customer),
    ])
}

/// So many wait, and a round is in flight.
fn busy_planner(waiting: usize, customers: usize) -> RoundPlanner<Task> {
    let mut planner = RoundPlanner::default();
    (0..COMMANDS_IN_A_ROUND).for_each(|order| planner.push(task(order, customers)));
    next_round(&mut planner);
    (0..waiting).for_each(|order| planner.push(task(COMMANDS_IN_A_ROUND + order, customers)));
    planner
}

fn next_round(planner: &mut RoundPlanner<Task>) -> Vec<Task> {
    let never = |_: Task| unreachable!("nothing expires here");
    planner.next_round(COMMANDS_IN_A_ROUND, usize::MAX, Instant::now(), never)
}

fn round_planner(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("the next round while one is in flight");
    for (name, waiting, customers) in [
        ("256 wait, of many customers", 256, 100_000),
        ("2,048 wait, of 1,000 customers", 2048, 1000),
        ("2,048 wait, all of one customer", 2048, 1),
    ] {
        group.throughput(Throughput::Elements(waiting as u64));
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                || busy_planner(waiting, customers),
                next_round,
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, round_planner);
criterion_main!(benches);
