//! Promises to members of one group among each other.

use std::collections::BTreeSet;

use super::{
    DEADLINE, LogUnderTest, PARTITIONS, Reader, drive, log_with_topic, number_of, publish_numbers, unique,
};
use shared::event_log::{ConsumedRecord, EventLog};

fn holds_all(reader: &Reader) -> bool {
    reader.held.len() == PARTITIONS as usize
}

fn hold_half(readers: &[&mut Reader]) -> bool {
    let half = PARTITIONS as usize / 2;
    readers.iter().all(|reader| reader.held.len() == half)
}

/// Two members who hold all partitions between them.
async fn two_members(log: &dyn EventLog, group: &str, topic: &str) -> (Reader, Reader) {
    let mut first = Reader::join(log, group, topic);
    first.until("the first member holds all", holds_all).await;
    let mut second = Reader::join(log, group, topic);
    drive(&mut [&mut first, &mut second], "both hold half", hold_half).await;
    let held: BTreeSet<_> = first.held.keys().chain(second.held.keys()).collect();
    assert_eq!(held.len(), PARTITIONS as usize, "a partition is held twice");
    (first, second)
}

fn all_numbers(readers: &[&mut Reader]) -> Vec<usize> {
    let mut numbers: Vec<usize> = readers.iter().flat_map(|reader| reader.numbers()).collect();
    numbers.sort_unstable();
    numbers
}

/// Publishes the numbers 0 to 199; returns when the members have seen so many records between them.
async fn see_200(log: &dyn EventLog, topic: &str, members: &mut [&mut Reader]) {
    publish_numbers(log, topic, 0..200).await;
    drive(members, "both see all", |readers| {
        all_numbers(readers).len() >= 200
    })
    .await;
}

/// Promise: each partition has one member, each record reaches one.
pub async fn members_share_the_partitions_and_see_each_record_once(subject: &impl LogUnderTest) {
    let (log, topic) = log_with_topic(subject).await;
    let (mut first, mut second) = two_members(&*log, &unique("group"), &topic).await;
    see_200(&*log, &topic, &mut [&mut first, &mut second]).await;
    assert_eq!(
        all_numbers(&[&mut first, &mut second]),
        (0..200).collect::<Vec<_>>()
    );
    assert!([first, second].iter().all(|reader| !reader.records.is_empty()));
}

/// Promise: a member that closes hands over what it stored, and nothing is told twice.
pub async fn what_a_leaving_member_held_goes_to_the_others(subject: &impl LogUnderTest) {
    let (log, topic) = log_with_topic(subject).await;
    let (mut first, mut second) = two_members(&*log, &unique("group"), &topic).await;
    see_200(&*log, &topic, &mut [&mut first, &mut second]).await;
    first.store_all();
    second.store_all();
    let before: BTreeSet<usize> = first.numbers().into_iter().collect();
    first.close().await;
    second.until("the other holds all", holds_all).await;
    publish_numbers(&*log, &topic, 200..300).await;
    second
        .until("the other sees what follows", |reader| {
            reader
                .records
                .iter()
                .filter(|record| number_of(record) >= 200)
                .count()
                >= 100
        })
        .await;
    let expected: Vec<usize> = (0..300).filter(|number| !before.contains(number)).collect();
    assert_eq!(
        second.numbers(),
        expected,
        "what was stored is not told again, all else once"
    );
}

/// Promise: a pause ends with its resume for partitions, too, that others held meanwhile.
pub async fn a_partition_given_back_while_paused_is_read_when_it_comes_back(subject: &impl LogUnderTest) {
    let (log, topic) = log_with_topic(subject).await;
    let group = unique("group");
    let mut first = Reader::join(&*log, &group, &topic);
    first.until("it holds all", holds_all).await;
    first.consumer.pause();
    let mut second = Reader::join(&*log, &group, &topic);
    drive(&mut [&mut first, &mut second], "both hold half", hold_half).await;
    first.consumer.resume();
    second.close().await;
    first.until("it holds all again", holds_all).await;
    publish_numbers(&*log, &topic, 0..200).await;
    first.until_numbers(0..200).await;
}

/// Promise: what a member did not store when it vanished is told to another.
pub async fn a_member_that_vanishes_is_replaced(subject: &impl LogUnderTest) {
    let (log, topic) = log_with_topic(subject).await;
    let (mut first, mut second) = two_members(&*log, &unique("group"), &topic).await;
    see_200(&*log, &topic, &mut [&mut first, &mut second]).await;
    second.store_all();
    drop(first);
    second
        .until("the other sees all", |reader| {
            reader.numbers().into_iter().collect::<BTreeSet<_>>().len() == 200
        })
        .await;
}

/// Promise: a store under an assignment that is over does nothing, so a slow answer of before a
/// rebalance skips no record.
pub async fn a_store_of_an_earlier_assignment_is_ignored(subject: &impl LogUnderTest) {
    let (log, topic) = log_with_topic(subject).await;
    let group = unique("group");
    publish_numbers(&*log, &topic, 0..100).await;
    let mut first = Reader::join(&*log, &group, &topic);
    first.until_numbers(0..100).await;
    let earlier = first.held.clone();
    let mut second = Reader::join(&*log, &group, &topic);
    drive(&mut [&mut first, &mut second], "both hold half", hold_half).await;
    let lost: BTreeSet<_> = second.held.keys().copied().collect();
    // The other one has been told them, so a store of its own would count.
    let of_lost = |record: &&ConsumedRecord| lost.contains(&record.position.partition);
    let expected = first.records.iter().filter(of_lost).count();
    second
        .until("the other is told them again", |reader| {
            reader.records.len() == expected
        })
        .await;
    for partition in &lost {
        let (assignment, last) = &earlier[partition];
        first
            .consumer
            .store(assignment, last.expect("every partition has records") + 1);
    }
    first.consumer.close(DEADLINE).await;
    second.close().await;

    let mut third = Reader::join(&*log, &group, &topic);
    third
        .until("what was not really stored is told again", |reader| {
            reader.records.iter().filter(of_lost).count() == expected
        })
        .await;
}
