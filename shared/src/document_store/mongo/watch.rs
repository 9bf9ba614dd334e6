//! What is known about the servers: why they are away, and the few log lines about it.
//!
//! Fed by the driver's monitoring (why nothing can be selected) and by the calls (whether they
//! succeed). One line when the database goes away, one when it is back, one every ten seconds
//! between: a database that is down for an hour does not fill a disk.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use mongodb::{ServerInfo, ServerType, error::ErrorKind, event::sdam::SdamEvent};

use super::errors::{clean, describe_io};

/// Between two log lines about a database that stays away.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// Shared by the driver's monitors and all calls.
#[derive(Debug)]
pub(super) struct Watch {
    /// The servers of the URI, for messages.
    hosts: String,
    /// Read on each successful call, so it is no lock.
    away: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What keeps each server from being the one to write to; empty while one is there.
    obstacles: Vec<String>,
    since: Option<Instant>,
    last_line: Option<Instant>,
}

impl Watch {
    pub(super) fn new(hosts: String) -> Watch {
        Watch {
            hosts,
            away: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    /// The servers of the URI.
    pub(super) fn hosts(&self) -> &str {
        &self.hosts
    }

    /// Takes in what the driver's monitors found.
    pub(super) fn heard(&self, event: SdamEvent) {
        if let SdamEvent::TopologyDescriptionChanged(change) = event {
            let servers = change.new_description.servers();
            let mut obstacles: Vec<String> = servers.values().filter_map(obstacle).collect();
            if obstacles.len() < servers.len() {
                obstacles.clear();
            }
            obstacles.sort();
            self.lock().obstacles = obstacles;
        }
    }

    /// Why there is no server to write to, if there is none.
    pub(super) fn whereabouts(&self) -> Option<String> {
        let state = self.lock();
        (!state.obstacles.is_empty())
            .then(|| format!("waiting for MongoDB at {}", state.obstacles.join("; ")))
    }

    /// A call was answered.
    pub(super) fn answered(&self) {
        if self.away.load(Ordering::Relaxed) && self.away.swap(false, Ordering::Relaxed) {
            let mut state = self.lock();
            state.last_line = None;
            if let Some(since) = state.since.take() {
                log::info!(target: "mongo", "the database at {} serves again after {:.1} s", self.hosts, since.elapsed().as_secs_f64());
            }
        }
    }

    /// A call was not answered.
    pub(super) fn unanswered(&self, reason: &str) {
        let mut state = self.lock();
        self.away.store(true, Ordering::Relaxed);
        let now = Instant::now();
        let since = *state.since.get_or_insert(now);
        match state.last_line {
            None => log::warn!(target: "mongo", "the database is not serving: {reason}"),
            Some(line) if now - line >= BETWEEN_LINES => log::warn!(
                target: "mongo", "the database is not serving for {:.0} s: {reason}", (now - since).as_secs_f64()
            ),
            Some(_) => return,
        }
        state.last_line = Some(now);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What keeps this server from being the one to write to.
fn obstacle(server: &ServerInfo<'_>) -> Option<String> {
    let what = match server.server_type() {
        ServerType::RsPrimary | ServerType::Standalone | ServerType::Mongos | ServerType::LoadBalancer => {
            return None;
        }
        ServerType::RsGhost => {
            "its replica set is not initiated: run rs.initiate() once in its shell".to_owned()
        }
        ServerType::RsSecondary | ServerType::RsArbiter | ServerType::RsOther => {
            "it is not the primary, and no primary is known".to_owned()
        }
        _ => match server.error().map(|error| error.kind.as_ref()) {
            Some(ErrorKind::Io(io)) => describe_io(io),
            Some(other) => other.to_string(),
            None => "not reached yet".to_owned(),
        },
    };
    Some(clean(&format!("{}: {what}", server.address())))
}
