//! A member that has something to read and gets nowhere says so, with the reason; one that has nothing
//! to read is well. The lag tells what can be read and is not done.

use std::time::{Duration, Instant};

use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer as _},
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use shared::event_log::{
    EventLog as _,
    kafka::{GroupProtocol, KafkaLog, KafkaSettings},
};
use testing::eventually;

use super::{
    Member, PATIENCE,
    mock::mock,
    real::{real, real_topic},
    record, within,
};

/// By then readiness has to say no.
const SEEN_WITHIN: Duration = Duration::from_secs(10);

async fn publish(log: &KafkaLog, topic: &str, numbers: std::ops::Range<u64>) {
    for number in numbers {
        within("a delivery", log.publish(record(topic, "k", number)))
            .await
            .unwrap();
    }
}

/// Until the member says that it is not well; why, and how long that took.
async fn unwell(member: &mut Member) -> (String, Duration) {
    let begin = Instant::now();
    loop {
        member.step(Duration::from_millis(50)).await;
        if let Err(error) = member.consumer.check() {
            return (error.to_string(), begin.elapsed());
        }
        assert!(begin.elapsed() < PATIENCE, "the standstill goes unnoticed");
    }
}

async fn lag(member: &Member, records: u64) {
    eventually(PATIENCE, &format!("a lag of {records}"), async || {
        let lag = member.consumer.lag();
        let sum: u64 = lag.iter().map(|lag| lag.records).sum();
        if lag.len() == member.held.len() && sum == records {
            Ok(())
        } else {
            Err(format!("{lag:?}"))
        }
    })
    .await;
}

#[tokio::test]
async fn a_partition_that_cannot_be_fetched_is_seen_within_ten_seconds_and_heals() {
    let (cluster, log) = mock("t", 2);
    publish(&log, "t", 0..1).await;
    let mut member = Member::join(&log, "g", "t");
    member.until("reading", |member| member.records.len() == 1).await;
    member.consumer.check().unwrap();
    let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::Fetch, &[refusal; 5000]);
    publish(&log, "t", 1..6).await;
    let (reason, after) = unwell(&mut member).await;
    eprintln!("{after:?}: {reason}");
    assert!(
        reason.contains(" has records from offset 1 to 5 and none came for "),
        "{reason}"
    );
    assert!(reason.contains("authorization"), "{reason}");
    assert!(after < SEEN_WITHIN, "{after:?}");
    cluster.clear_request_errors(RDKafkaApiKey::Fetch);
    member
        .until("reading on", |member| member.records.len() == 6)
        .await;
    member
        .until("being well", |member| member.consumer.check().is_ok())
        .await;
    lag(&member, 0).await;
}

#[tokio::test]
async fn handlers_that_make_no_progress_are_seen_within_ten_seconds() {
    let (_cluster, log) = mock("t", 1);
    publish(&log, "t", 0..5).await;
    let mut member = Member::join(&log, "g", "t");
    member.store = false;
    member.until("reading", |member| member.records.len() == 5).await;
    // As a consumer does that can take no more.
    member.consumer.pause();
    let (reason, after) = unwell(&mut member).await;
    eprintln!("{after:?}: {reason}");
    assert!(reason.contains("handlers make no progress"), "{reason}");
    assert!(after < SEEN_WITHIN, "{after:?}");
    publish(&log, "t", 5..9).await;
    lag(&member, 9).await;
    member.consumer.store(&member.held[&0].clone(), 3);
    member.consumer.check().unwrap();
    lag(&member, 6).await;
    member.consumer.resume();
    member
        .until("reading on", |member| member.records.len() == 9)
        .await;
    member.consumer.store(&member.held[&0].clone(), 9);
    lag(&member, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_age_of_what_is_not_read_is_that_of_its_record() {
    let Some(kafka) = real() else { return };
    let log = KafkaLog::new(kafka).unwrap();
    let topic = real_topic(&log, 1).await;
    publish(&log, &topic, 0..5).await;
    let mut member = Member::join(&log, &topic, &topic);
    member.until("reading", |member| member.records.len() == 5).await;
    lag(&member, 0).await;
    member.consumer.pause();
    while member.step(Duration::from_millis(300)).await {}
    // A pause in the stream, which an interpolation between the log's ends would count in.
    let first = Instant::now();
    publish(&log, &topic, 5..6).await;
    member.step(Duration::from_millis(1500)).await;
    publish(&log, &topic, 6..8).await;
    lag(&member, 3).await;
    let age = eventually(PATIENCE, "an age", async || member.consumer.lag()[0].oldest).await;
    let truth = first.elapsed();
    eprintln!("{age:?}, in truth {truth:?}");
    assert!(
        age <= truth + Duration::from_millis(5),
        "{age:?}, in truth {truth:?}"
    );
    assert!(
        age + Duration::from_millis(500) > truth,
        "{age:?}, in truth {truth:?}"
    );
    member.consumer.resume();
    member
        .until("reading on", |member| member.records.len() == 8)
        .await;
    lag(&member, 0).await;
    assert_eq!(member.consumer.lag()[0].oldest, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_without_partitions_is_well_under_both_group_protocols() {
    for protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
        let Some(kafka) = real() else { return };
        let log = KafkaLog::new(KafkaSettings {
            group_protocol: protocol,
            ..kafka
        })
        .unwrap();
        let topic = real_topic(&log, 1).await;
        let mut members = [
            Member::join(&log, &topic, &topic),
            Member::join(&log, &topic, &topic),
        ];
        let begin = Instant::now();
        loop {
            for member in &mut members {
                member.step(Duration::from_millis(20)).await;
            }
            let held: usize = members.iter().map(|member| member.held.len()).sum();
            let checks: Vec<_> = members.iter().map(|member| member.consumer.check()).collect();
            if held == 1 && checks.iter().all(Result::is_ok) {
                break;
            }
            assert!(begin.elapsed() < PATIENCE, "{protocol:?}: {checks:?}");
        }
        eprintln!("{protocol:?}: both are well after {:?}", begin.elapsed());
        // And stay so, longer than a standstill takes to be seen.
        let begin = Instant::now();
        while begin.elapsed() < SEEN_WITHIN {
            for member in &mut members {
                member.step(Duration::from_millis(100)).await;
                member.consumer.check().unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aborted_records_and_a_marker_at_the_end_leave_no_lag() {
    let Some(kafka) = real() else { return };
    let brokers = kafka.brokers.clone();
    let log = KafkaLog::new(kafka).unwrap();
    let topic = real_topic(&log, 1).await;
    publish(&log, &topic, 0..2).await;
    let mut member = Member::join(&log, &topic, &topic);
    member.until("reading", |member| member.records.len() == 2).await;
    lag(&member, 0).await;
    let aborted = topic.clone();
    tokio::task::spawn_blocking(move || {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("transactional.id", &aborted)
            .create()
            .unwrap();
        let wait = Duration::from_secs(20);
        producer.init_transactions(wait).unwrap();
        producer.begin_transaction().unwrap();
        for _ in 0..3 {
            let record = BaseRecord::<[u8], _>::to(&aborted).payload(b"never".as_slice());
            producer.send(record).unwrap();
        }
        producer.flush(wait).unwrap();
        producer.abort_transaction(wait).unwrap();
    })
    .await
    .unwrap();
    // The log has three records and a marker more, which nobody can read.
    let begin = Instant::now();
    while begin.elapsed() < SEEN_WITHIN {
        member.step(Duration::from_millis(100)).await;
        member.consumer.check().unwrap();
    }
    assert_eq!(member.records.len(), 2);
    lag(&member, 0).await;
}
