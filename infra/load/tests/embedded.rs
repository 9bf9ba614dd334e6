//! A whole run against both services in this process: fast, and nothing has to be there.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use load::{
    arrivals::Arrivals,
    measure,
    run::Run,
    setup::{Place, Setup},
    workload::{Extent, Pace, Spread, Workload},
};

fn load(pace: Pace) -> Workload {
    Workload {
        pace,
        extent: Extent::Orders(200),
        warm_up: Duration::from_millis(200),
        customers: 20,
        spread: Spread::Zipf,
        rejects: 0.1,
        cancels: 0.2,
        repeats: 0.1,
        duplicates: 0.1,
        stored: 500,
        seed: 1,
    }
}

/// A run has the machine to itself: its pace is part of what is tested.
static ALONE: Mutex<()> = Mutex::new(());

fn run(name: &str, workload: Workload) -> Run {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("load-{name}"));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder for the test");
    let setup = Setup {
        name: name.to_owned(),
        folder: folder.clone(),
        place: Place::Embedded,
        environment: vec![("KAFKA_PARTITIONS".to_owned(), "3".to_owned())],
        workload,
    };
    let run = measure(&setup, Arc::default()).expect("a run");
    assert!(folder.join("completed.hgrm").exists());
    let _ = std::fs::remove_dir_all(&folder);
    run
}

#[test]
fn two_hundred_orders_of_callers_are_followed_to_their_one_end() {
    let run = run("closed", load(Pace::Closed { callers: 8 }));
    let counts = &run.counts;
    assert!(run.faults.is_empty(), "{:?}", run.faults);
    assert_eq!((counts.offered, counts.accepted, counts.failed), (200, 200, 0));
    assert_eq!(counts.shipped + counts.cancelled, 200);
    assert!(counts.cancelled > 5, "some are rejected: {counts:?}");
    assert!(counts.repeated > 5, "{counts:?}");
    assert!(counts.records_twice > 5, "{counts:?}");
    assert_eq!((run.acknowledged.count, run.completed.count), (200, 200));
    assert!(run.sagas_per_second > 0.0);
}

#[test]
fn two_hundred_orders_of_an_open_loop_come_at_their_rate() {
    let pace = Pace::Open {
        rate: 200.0,
        arrivals: Arrivals::Uniform,
    };
    let run = run("open", load(pace));
    assert!(run.faults.is_empty(), "{:?}", run.faults);
    assert_eq!(run.counts.accepted, 200);
    assert!(
        (0.9..2.0).contains(&run.measured_seconds),
        "200 at 200 a second take a second: {}",
        run.measured_seconds
    );
}
