//! Asks where quiet partitions begin and end, and how old is what nobody reads of them.
//!
//! librdkafka learns that only with the records that it fetches. A partition that is paused, or that
//! cannot be fetched, would seem to have nothing to read for ever; and that is just the case which
//! [`Consumer::check`](crate::event_log::Consumer::check) and the lag are for.
//!
//! Runs on a thread of its own, because librdkafka answers this question only by blocking.

use std::{sync::Arc, thread, time::Duration};

use rdkafka::producer::Producer as _;

use super::{admin::Probe, age::Ages, consumer::Orders, member::Member};

/// Between two rounds; what a group with idle partitions costs the brokers: two requests a partition.
const EVERY: Duration = Duration::from_secs(2);
/// How long a broker may take to answer.
const ANSWER: Duration = Duration::from_secs(1);

/// Starts to ask, until the subscription or the log is gone.
pub(super) fn start(member: &Arc<Member>, orders: &Arc<Orders>, probe: &Arc<Probe>, mut ages: Ages) {
    let (member, orders, probe) = (Arc::clone(member), Arc::clone(orders), Arc::clone(probe));
    let started = thread::Builder::new().name("kafka-watch".into()).spawn(move || {
        while !orders.wait(EVERY) {
            if !member.link.is_away() && !round(&member, &probe, &mut ages) {
                return;
            }
        }
    });
    if let Err(error) = started {
        log::error!(target: "kafka", error:%; "cannot start a thread: the lag may be out of date");
    }
}

/// False where the log is gone.
fn round(member: &Member, probe: &Probe, ages: &mut Ages) -> bool {
    for (topic, partition) in member.quiet() {
        let Some(producer) = probe.producer() else {
            return false;
        };
        match producer.client().fetch_watermarks(&topic, partition, ANSWER) {
            Ok((begin, end)) => member.ends(&topic, partition, begin, end),
            Err(error) => {
                // Others may have a leader.
                log::debug!(target: "kafka", topic = &*topic, partition, error:%; "its ends are not known");
            }
        }
        if let Some(offset) = member.of_unknown_age(&topic, partition) {
            match ages.written(&topic, partition, offset) {
                Ok(written) => member.written(&topic, partition, offset, written),
                Err(error) => {
                    log::debug!(target: "kafka", topic = &*topic, partition, offset, error:%; "its age is not known");
                }
            }
        }
    }
    true
}
