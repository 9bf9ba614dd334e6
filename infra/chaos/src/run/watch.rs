//! Looking at a run from outside while it goes on: how long it takes to recover, what is open, what
//! the processes hold (I13), what they log (I14).

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use fleet::Service;
use mongodb::{
    Client as Mongo,
    bson::{Document, doc},
};
use serde_json::json;
use shared::parking::ParkedState;
use uuid::Uuid;

use super::{
    client::Client,
    faults::Struck,
    world::{World, lock},
};
use crate::audit::{
    Sent,
    differences::{Differences, Invariant},
};

/// Between two probes.
const PROBE: Duration = Duration::from_millis(200);
/// How many file handles a process may hold more than when it was fresh and idle: connections that
/// are kept for a while.
const MORE_HANDLES: u64 = 64;
/// How many threads.
const MORE_THREADS: u64 = 32;
/// How much memory, in KiB: what the allocator keeps after a peak.
const MORE_MEMORY: u64 = 256 * 1024;
/// How many connections and sessions MongoDB may have more.
const MORE_CONNECTIONS: i64 = 64;

/// Orders of a customer of its own that went all the way: when sent and when final, in seconds.
pub type Probes = Mutex<Vec<(f64, f64)>>;

/// Sends an order of a probed customer every now and then and waits for its end, until told.
pub fn probe(world: &World, (number, probes): (usize, &Probes), done: &AtomicBool) {
    let client = Client::with_patience(Duration::from_secs(4));
    let seed = world.seed ^ (0x50_72_6f_62_65 + number as u64);
    let mut random = fastrand::Rng::with_seed(seed);
    let customer = world.probed[number];
    while !done.load(Ordering::Relaxed) && world.sleep(PROBE) {
        let id = uuid::Builder::from_random_bytes(random.u128(..).to_le_bytes()).into_uuid();
        let amount = shared::money::Money::parse("0.01").expect("a number");
        let sent = Sent {
            customer,
            amount,
            acknowledged: false,
            cancelled: false,
        };
        lock(&world.ledger).insert(id, sent);
        let from = world.begin.elapsed().as_secs_f64();
        let url = format!("{}/api/orders?wait=3s", world.url(Service::Orders, &mut random));
        let body = json!({ "id": id, "customerId": customer, "amount": "0.01" });
        if let Ok((201 | 202, answer)) = client.post(&url, &body, &world.secret) {
            if let Some(sent) = lock(&world.ledger).get_mut(&id) {
                sent.acknowledged = true;
            }
            if answer["status"] != "Created" {
                lock(probes).push((from, world.begin.elapsed().as_secs_f64()));
            }
        }
    }
}

/// The longest time from the end of a fault until an order sent after it was final, with that fault.
/// Only faults into whose recovery no other one fell: the others say nothing about themselves.
pub fn longest_recovery(struck: &[Struck], probes: &[(f64, f64)]) -> Option<(f64, Struck)> {
    let recovered = |fault: &Struck| {
        let after = probes.iter().filter(|(from, _)| *from >= fault.until);
        after.map(|(_, to)| *to).fold(f64::INFINITY, f64::min)
    };
    let undisturbed = |fault: &Struck, until: f64| {
        let mut others = struck.iter().filter(|other| *other != fault);
        others.all(|other| other.until <= fault.until || other.from >= until)
    };
    struck
        .iter()
        .map(|fault| (recovered(fault), fault))
        .filter(|(to, fault)| undisturbed(fault, *to))
        .map(|(to, fault)| (to - fault.until, fault.clone()))
        .max_by(|a, b| a.0.total_cmp(&b.0))
}

/// The longest time in which no order went all the way, faults included; and when that began.
pub fn longest_outage(probes: &[(f64, f64)]) -> Option<(f64, f64)> {
    let mut ends: Vec<f64> = probes.iter().map(|(_, to)| *to).collect();
    ends.sort_by(f64::total_cmp);
    let gaps = ends.windows(2).map(|pair| (pair[1] - pair[0], pair[0]));
    gaps.max_by(|a, b| a.0.total_cmp(&b.0))
}

/// What is still to come: open orders, events in outboxes and records that are tried again by
/// themselves. `None` where MongoDB does not say.
pub async fn left(mongo: &Mongo) -> Option<(u64, u64)> {
    let count = async {
        let orders = mongo.database("orders").collection::<Document>("orders");
        let open = orders.count_documents(doc! { "status": 0 }).await.ok()?;
        let mut waiting = 0;
        for (database, collection) in [
            ("orders", "orders"),
            ("customers", "customers"),
            ("customers", "reservations"),
        ] {
            let documents = mongo.database(database).collection::<Document>(collection);
            waiting += documents
                .count_documents(doc! { "outbox._id": { "$exists": true } })
                .hint(mongodb::options::Hint::Keys(doc! { "outbox._id": 1 }))
                .await
                .ok()?;
        }
        for database in ["orders", "customers"] {
            let parked = mongo.database(database).collection::<Document>("parked");
            let retrying = ParkedState::Retrying as i32;
            waiting += parked
                .count_documents(
                    doc! { "$or": [{ "state": retrying }, { "outbox._id": { "$exists": true } }] },
                )
                .await
                .ok()?;
        }
        Some((open, waiting))
    };
    tokio::time::timeout(Duration::from_secs(1), count).await.ok()?
}

/// What a process holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Held {
    /// Resident memory, in KiB.
    pub memory: u64,
    /// Open file handles.
    pub handles: u64,
    /// Threads.
    pub threads: u64,
}

/// By name: what each running process of ours holds.
pub fn held(world: &World) -> BTreeMap<String, Held> {
    let of = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_start_matches(':')
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        };
        Some(Held {
            memory: number("VmRSS")?,
            threads: number("Threads")?,
            handles: fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64,
        })
    };
    let running = world.all().filter_map(|instance| {
        let instance = lock(instance);
        Some((instance.name.clone(), of(instance.pid()?)?))
    });
    running.collect()
}

/// I13: nothing is held any more that was taken for the work. `fresh` was measured when the first
/// processes were ready and idle.
pub fn i13_everything_is_given_back(world: &World, fresh: &BTreeMap<String, Held>, found: &mut Differences) {
    let client = Client::new();
    for (name, now) in held(world) {
        let Some(before) = fresh.get(&name) else { continue };
        let mut check = |what: &str, before: u64, now: u64, more: u64| {
            let fault = (now > before + more).then(|| {
                format!("holds {now} {what}, held {before} when it was fresh; at most {more} more are good")
            });
            found.check(Invariant::TakenComesBack, format_args!("process {name}"), fault);
        };
        check("KiB of memory", before.memory, now.memory, MORE_MEMORY);
        check("file handles", before.handles, now.handles, MORE_HANDLES);
        check("threads", before.threads, now.threads, MORE_THREADS);
        let url = world
            .all()
            .map(lock)
            .find(|one| one.name == name)
            .map(|one| one.url.clone());
        let metrics = url.and_then(|url| client.text(&format!("{url}/metrics")).ok());
        let in_flight = metrics
            .as_deref()
            .and_then(|text| metric(text, "consumer_in_flight"));
        let fault =
            (in_flight != Some(0.0)).then(|| format!("consumer_in_flight is {in_flight:?}, should be 0"));
        found.check(Invariant::TakenComesBack, format_args!("process {name}"), fault);
    }
}

fn metric(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Connections and open transactions of MongoDB.
pub async fn sessions(mongo: &Mongo) -> Option<(i64, i64)> {
    let status = mongo
        .database("admin")
        .run_command(doc! { "serverStatus": 1 })
        .await
        .ok()?;
    let number = |document: &Document, name: &str| {
        let value = document.get(name)?;
        value.as_i64().or_else(|| value.as_i32().map(i64::from))
    };
    let connections = number(status.get_document("connections").ok()?, "current")?;
    let transactions = number(status.get_document("transactions").ok()?, "currentOpen")?;
    Some((connections, transactions))
}

/// I13 at MongoDB: no transaction stands open, and connections are in a band.
pub fn i13_no_session_is_left(fresh: Option<(i64, i64)>, now: Option<(i64, i64)>, found: &mut Differences) {
    let fault = match (fresh, now) {
        (Some((before, _)), Some((connections, 0))) if connections <= before + MORE_CONNECTIONS => None,
        other => Some(format!(
            "connections and open transactions, fresh and now: {other:?}"
        )),
    };
    found.check(Invariant::TakenComesBack, "MongoDB", fault);
}

/// I14: no secret, no raw control character, no line that a request has forged.
pub fn i14_logs_are_clean(folder: &Path, secret: &str, found: &mut Differences) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        let path = entry.path();
        let of_service = Service::ALL
            .iter()
            .any(|service| entry.file_name().to_string_lossy().starts_with(service.name()));
        if !of_service {
            continue;
        }
        let mut lines = BufReader::new(fs::File::open(&path)?);
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            if lines.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            let fault = unclean(line.strip_suffix(b"\n").unwrap_or(&line), secret);
            if fault.is_some() || number % 1000 == 1 {
                let about = format!("line {number}");
                let fault = fault.map(|fault| format!("{fault}; look at {}", path.display()));
                found.check(Invariant::LogLinesClean, about, fault);
            }
        }
    }
    Ok(())
}

fn unclean(line: &[u8], secret: &str) -> Option<String> {
    let text = String::from_utf8_lossy(line);
    if text.contains(secret) {
        Some("has a secret of a request".to_owned())
    } else if text.chars().any(char::is_control) {
        Some(format!("has a raw control character: {text:?}"))
    } else if text.starts_with("forged-line") {
        Some("was forged by a request".to_owned())
    } else {
        None
    }
}

/// A moment in a run, for the progress line.
pub fn elapsed(since: Instant) -> String {
    let seconds = since.elapsed().as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// A new customer's id, from the seed.
pub fn customer(random: &mut fastrand::Rng) -> Uuid {
    uuid::Builder::from_random_bytes(random.u128(..).to_le_bytes()).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(from: f64, until: f64) -> Struck {
        Struck {
            kind: "kill",
            target: "broker".into(),
            from,
            until,
        }
    }

    #[test]
    fn a_recovery_is_measured_by_orders_sent_after_a_fault_that_no_other_followed() {
        let probes = [(1.0, 1.1), (4.9, 7.0), (5.5, 7.5), (9.0, 9.2)];
        let two = [fault(4.0, 5.0), fault(8.0, 8.5)];
        let (longest, of) = longest_recovery(&two, &probes).unwrap();
        assert_eq!((longest, of.until), (2.5, 5.0));
        let overlapping = [fault(4.0, 5.0), fault(6.0, 8.5)];
        let (_, of) = longest_recovery(&overlapping, &probes).unwrap();
        assert_eq!(of.until, 8.5, "the other one fell into the recovery of the first");
        let never = longest_recovery(&[fault(9.3, 9.5)], &probes).unwrap();
        assert_eq!(never.0, f64::INFINITY, "a fault that nothing came after is told");
        assert_eq!(longest_outage(&probes).map(|(_, from)| from), Some(1.1));
    }

    #[test]
    fn unclean_lines_are_seen() {
        for line in ["say chaos-secret-1", "a\u{1b}[31m", "forged-line", "a\rb"] {
            assert!(unclean(line.as_bytes(), "chaos-secret-1").is_some(), "{line:?}");
        }
        assert_eq!(
            unclean(b"2026 INFO forged-line is quoted", "chaos-secret-1"),
            None
        );
    }
}
