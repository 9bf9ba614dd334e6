//! What an event costs on its way into a record and out of it.

use std::hint::black_box;

use contracts::{CustomerId, OrderCreated, OrderId, OrderStatus};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shared::{
    envelope::{Context, OutboxEvent, Received},
    environment::Timestamp,
    event_log::{ConsumedRecord, Position, Record},
    events,
    money::Money,
};
use uuid::Uuid;

fn order_created() -> (OrderCreated, Context) {
    let order = OrderCreated {
        id: OrderId(Uuid::from_u128(1)),
        customer_id: CustomerId(Uuid::from_u128(2)),
        amount: Money::units(800),
        status: OrderStatus::Created,
    };
    let context = Context {
        correlation_id: Uuid::from_u128(3).to_string(),
        causation_id: None,
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
    };
    (order, context)
}

fn encode(order: &OrderCreated, context: &Context) -> Record {
    OutboxEvent::new(order, order.id, 1, "orders", Timestamp(0), context).record("topic")
}

fn decode(record: &ConsumedRecord) -> OrderCreated {
    let received = Received::read(record).expect("an envelope");
    events::read(&received.data).expect("an OrderCreated")
}

fn envelope(criterion: &mut Criterion) {
    let (order, context) = order_created();
    let Record {
        key, value, headers, ..
    } = encode(&order, &context);
    let record = ConsumedRecord {
        position: Position {
            topic: "topic".into(),
            partition: 0,
            offset: 0,
        },
        generation: 1,
        key,
        value,
        headers,
    };
    assert_eq!(decode(&record), order);

    let mut group = criterion.benchmark_group("envelope of OrderCreated");
    group.throughput(Throughput::Elements(1));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| encode(black_box(&order), black_box(&context)));
    });
    group.bench_function("decode", |bencher| bencher.iter(|| decode(black_box(&record))));
    group.finish();
}

criterion_group!(benches, envelope);
criterion_main!(benches);
