//! Commits that the broker refuses, and a producer that gives up in the middle of a stream, on the
//! mock cluster: what is stored is neither lost nor skipped.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use shared::event_log::{EventLog as _, LogError, kafka::KafkaLog};

use super::{Member, PATIENCE, mock::mock, record, within};

const REFUSALS: [RDKafkaRespErr; 5] = [
    RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
    RDKafkaRespErr::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
    RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
    RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
    RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
];

async fn publish(log: &KafkaLog, numbers: std::ops::Range<u64>) {
    let deliveries: Vec<_> = numbers
        .map(|number| log.publish(record("t", &format!("k{}", number % 9), number)))
        .collect();
    for delivery in deliveries {
        within("a delivery", delivery).await.unwrap();
    }
}

#[tokio::test]
async fn a_refused_commit_is_made_up_for_by_the_next_one() {
    let (cluster, log) = mock("t", 3);
    publish(&log, 0..30).await;
    let mut member = Member::join(&log, "g", "t");
    member
        .until("reading", |member| member.values().len() == 30)
        .await;
    let mut published = 30;
    for refusal in REFUSALS {
        cluster.request_errors(RDKafkaApiKey::OffsetCommit, &[refusal; 3]);
        publish(&log, published..published + 30).await;
        published += 30;
        // It may have to join anew; then it reads again what was not committed.
        member
            .until("reading on", |member| member.values().len() == published as usize)
            .await;
    }
    cluster.clear_request_errors(RDKafkaApiKey::OffsetCommit);
    member.consumer.check().unwrap();
    let twice = member.records.len() - member.values().len();
    eprintln!(
        "{published} records over {} refused commits, {twice} read twice",
        REFUSALS.len() * 3
    );
    member.close().await;

    publish(&log, published..published + 1).await;
    let mut next = Member::join(&log, "g", "t");
    next.until("what is new", |next| !next.records.is_empty()).await;
    assert_eq!(
        next.values(),
        BTreeSet::from([published]),
        "not all was committed"
    );
}

#[tokio::test]
async fn a_last_commit_that_is_refused_means_reading_again_and_no_gap() {
    let (cluster, log) = mock("t", 3);
    let mut member = Member::join(&log, "g", "t");
    member
        .until("the assignment", |member| member.held.len() == 3)
        .await;
    // More than it will try: every commit from here on fails.
    let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION;
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &[refusal; 100]);
    publish(&log, 0..60).await;
    member
        .until("reading", |member| member.values().len() == 60)
        .await;
    within("closing", member.consumer.close(Duration::from_secs(5))).await;
    cluster.clear_request_errors(RDKafkaApiKey::OffsetCommit);
    let mut next = Member::join(&log, "g", "t");
    next.until("reading again", |next| next.values().len() == 60)
        .await;
    assert_eq!(next.values(), (0..60).collect());
}

#[tokio::test]
async fn a_member_goes_on_after_the_broker_was_away() {
    let (cluster, log) = mock("t", 3);
    publish(&log, 0..50).await;
    let mut member = Member::join(&log, "g", "t");
    member
        .until("reading", |member| member.values().len() == 50)
        .await;
    cluster.broker_down(-1).unwrap();
    let begin = Instant::now();
    while member.consumer.check().is_ok() {
        assert!(begin.elapsed() < PATIENCE, "the outage goes unnoticed");
        member.step(Duration::from_millis(5)).await;
    }
    cluster.broker_up(-1).unwrap();
    let begin = Instant::now();
    publish(&log, 50..100).await;
    member
        .until("reading on", |member| member.values().len() == 100)
        .await;
    eprintln!("reads again {:?} after the broker is back", begin.elapsed());
    member
        .until("being well", |member| member.consumer.check().is_ok())
        .await;
}

#[tokio::test]
async fn a_fatal_error_in_mid_stream_loses_no_record_that_is_published_again() {
    let (cluster, log) = mock("t", 3);
    publish(&log, 0..1).await;
    let fatal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    let mut open: Vec<u64> = (1..1000).collect();
    let mut confirmed = BTreeSet::from([0]);
    let (begin, mut rounds) = (Instant::now(), 0);
    while !open.is_empty() {
        rounds += 1;
        let mut deliveries = Vec::new();
        for (place, number) in open.iter().enumerate() {
            if rounds <= 3 && place == open.len() / 2 {
                cluster.request_errors(RDKafkaApiKey::Produce, &[fatal]);
            }
            deliveries.push((
                *number,
                log.publish(record("t", &format!("k{}", number % 9), number)),
            ));
            tokio::task::yield_now().await;
        }
        open.clear();
        for (number, delivery) in deliveries {
            match within("an answer", delivery).await {
                Ok(_) => assert!(confirmed.insert(number)),
                Err(LogError::Unavailable(_)) => open.push(number),
                Err(error) => panic!("{error}"),
            }
        }
        assert!(begin.elapsed() < PATIENCE, "{} are never confirmed", open.len());
    }
    eprintln!(
        "1000 records confirmed in {rounds} rounds with 3 fatal errors, {:?}",
        begin.elapsed()
    );
    assert!(rounds > 1, "no fatal error was met");
    let mut member = Member::join(&log, "g", "t");
    member
        .until("reading", |member| member.values().len() == 1000)
        .await;
    assert_eq!(member.values(), confirmed);
}
