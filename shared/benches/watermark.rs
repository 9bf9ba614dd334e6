//! What it costs to know up to where a partition is done, when things are done out of order.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shared::{actors::consumer::watermark::Watermark, event_log::Offset};

/// Records under way at a time.
const UNDER_WAY: Offset = 1000;
/// Takes each offset once, far from the one before: it shares no divisor with [`UNDER_WAY`].
const STRIDE: Offset = 617;

/// Takes all, and is told in this order that each is done.
fn pass(order: &[Offset]) -> Option<Offset> {
    let mut watermark = Watermark::default();
    (0..UNDER_WAY).for_each(|offset| watermark.begin(offset));
    order
        .iter()
        .fold(None, |last, offset| watermark.done(*offset).or(last))
}

fn watermark(criterion: &mut Criterion) {
    let orders: [(&str, Vec<Offset>); 3] = [
        ("in order", (0..UNDER_WAY).collect()),
        (
            "scattered",
            (0..UNDER_WAY).map(|n| n * STRIDE % UNDER_WAY).collect(),
        ),
        ("the first one last", (1..UNDER_WAY).chain([0]).collect()),
    ];
    let mut group = criterion.benchmark_group("watermark over 1,000 offsets");
    group.throughput(Throughput::Elements(UNDER_WAY.unsigned_abs()));
    for (name, order) in &orders {
        assert_eq!(pass(order), Some(UNDER_WAY), "{name}");
        group.bench_function(*name, |bencher| bencher.iter(|| pass(black_box(order))));
    }
    group.finish();
}

criterion_group!(benches, watermark);
criterion_main!(benches);
