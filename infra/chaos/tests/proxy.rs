//! What a faulty network does to the services: while it lasts they say so and answer in time; after
//! it everything that was accepted becomes final, once, and the credit is exact.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::time::{Duration, Instant};

use chaos::proxy::Network;
use engines::Engine;
use support::{Bench, FINAL_WITHIN, eventually};
use uuid::Uuid;

/// F36: a peer that is gone without a word is noticed, and work goes on over new connections, within
/// this time. For MongoDB: the driver asks every second and gives the answer two. For Kafka: each client asks
/// every two seconds and gives an answer five; meanwhile the group may have given the member up.
const HALF_OPEN_NOTICED_WITHIN: [(Engine, Duration); 2] = [
    (Engine::Kafka, Duration::from_secs(12)),
    (Engine::Mongo, Duration::from_secs(8)),
];
/// How long a fault lasts beyond the time in which it is noticed.
const LASTS: Duration = Duration::from_secs(4);
/// Connections that may be more than before a fault, while they are being replaced.
const SPARE: usize = 6;

fn check_of(engine: Engine) -> &'static str {
    match engine {
        Engine::Kafka => "log",
        Engine::Mongo => "database",
    }
}

/// A fault in which nothing gets through.
fn endure(engine: Engine, network: Network) {
    let Some(mut bench) = Bench::new() else { return };
    for _ in 0..3 {
        let (status, order) = bench.send(Uuid::now_v7(), "?wait=30s");
        assert_eq!((status, &order["status"]), (201, &"Shipped".into()), "{order}");
    }
    let known = *bench.ledger.keys().next().unwrap();
    bench.proxy(engine).set(network);
    let noticed = bench.wait_until_unready(check_of(engine));
    eprintln!(
        "{network:?} before {engine}: noticed after {:.1} s",
        noticed.as_secs_f64()
    );
    let until = Instant::now() + LASTS;
    while Instant::now() < until {
        let (status, _) = bench.send(Uuid::now_v7(), "");
        let (read, _) = bench.read(known);
        match engine {
            // Accepted into the database, to be announced later.
            Engine::Kafka => assert_eq!((status, read), (201, 200)),
            Engine::Mongo => assert_eq!((status, read), (503, 503)),
        }
    }
    bench.recover(engine);
}

/// A fault in which things get through, late.
fn live_with(engine: Engine, network: Network) {
    let Some(mut bench) = Bench::new() else { return };
    bench.proxy(engine).set(network);
    let mut ids = Vec::new();
    for _ in 0..5 {
        let id = Uuid::now_v7();
        ids.push(id);
        eventually("an order is accepted", FINAL_WITHIN, || {
            match bench.send(id, "") {
                (201, _) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }
    for id in ids {
        eventually(
            "an order is final on a bad network",
            FINAL_WITHIN,
            || match bench.read(id) {
                (200, order) if order["status"] == "Shipped" => Ok(()),
                other => Err(format!("{other:?}")),
            },
        );
    }
    bench.recover(engine);
}

/// The peer is gone without a word and back at once; connections from before stay silent.
fn notice_half_open(engine: Engine) {
    let Some(mut bench) = Bench::new() else { return };
    let (_, within) = HALF_OPEN_NOTICED_WITHIN[engine as usize];
    let (status, order) = bench.send(Uuid::now_v7(), "?wait=30s");
    assert_eq!((status, &order["status"]), (201, &"Shipped".into()), "{order}");
    let proxy = bench.proxy(engine);
    let before = proxy.connections().len();
    for _ in 0..2 {
        proxy.set(Network::HalfOpen);
        proxy.set(Network::Sound);
        let begin = Instant::now();
        let id = Uuid::now_v7();
        eventually("an order goes all the way over new connections", within, || {
            bench.send(id, "");
            match bench.read(id) {
                (200, order) if order["status"] == "Shipped" => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        eprintln!(
            "half-open before {engine}: an order went all the way after {:.1} s",
            begin.elapsed().as_secs_f64()
        );
    }
    // Silent connections end only by their client.
    let closed = eventually("silent connections are closed", FINAL_WITHIN, || {
        let now = proxy.connections().len();
        if now <= before + SPARE {
            Ok(())
        } else {
            Err(format!("{now} are open, {before} were"))
        }
    });
    eprintln!(
        "half-open before {engine}: silent connections are closed after {:.1} s more",
        closed.as_secs_f64()
    );
    bench.recover(engine);
}

/// Connections break in the middle of an answer, again and again.
fn survive_cuts(engine: Engine) {
    let Some(mut bench) = Bench::new() else { return };
    for bytes in [1, 37, 300, 2_000, 20_000] {
        bench.proxy(engine).set(Network::CutAfter(bytes));
        let until = Instant::now() + Duration::from_secs(2);
        while Instant::now() < until {
            let id = Uuid::now_v7();
            bench.send(id, "");
            bench.read(id);
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    bench.recover(engine);
}

#[test]
fn a_black_hole_before_kafka_is_told_and_survived() {
    endure(Engine::Kafka, Network::BlackHole);
}

#[test]
fn a_black_hole_before_mongodb_is_told_and_survived() {
    endure(Engine::Mongo, Network::BlackHole);
}

#[test]
fn resets_before_kafka_are_told_and_survived() {
    endure(Engine::Kafka, Network::Reset);
}

#[test]
fn resets_before_mongodb_are_told_and_survived() {
    endure(Engine::Mongo, Network::Reset);
}

#[test]
fn a_kafka_that_accepts_and_is_silent_is_told_and_survived() {
    endure(Engine::Kafka, Network::HalfOpen);
}

#[test]
fn a_mongodb_that_accepts_and_is_silent_is_told_and_survived() {
    endure(Engine::Mongo, Network::HalfOpen);
}

#[test]
fn half_open_connections_to_kafka_are_noticed_in_time() {
    notice_half_open(Engine::Kafka);
}

#[test]
fn half_open_connections_to_mongodb_are_noticed_in_time() {
    notice_half_open(Engine::Mongo);
}

#[test]
fn answers_of_kafka_cut_in_their_middle_are_survived() {
    survive_cuts(Engine::Kafka);
}

#[test]
fn answers_of_mongodb_cut_in_their_middle_are_survived() {
    survive_cuts(Engine::Mongo);
}

#[test]
fn a_slow_network_before_kafka_only_takes_longer() {
    live_with(Engine::Kafka, Network::Slow(Duration::from_millis(200)));
}

#[test]
fn a_slow_network_before_mongodb_only_takes_longer() {
    live_with(Engine::Mongo, Network::Slow(Duration::from_millis(200)));
}

#[test]
fn a_narrow_network_before_kafka_only_takes_longer() {
    live_with(Engine::Kafka, Network::Narrow(20_000));
}

#[test]
fn a_narrow_network_before_mongodb_only_takes_longer() {
    live_with(Engine::Mongo, Network::Narrow(20_000));
}
