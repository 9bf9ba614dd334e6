//! A service that runs, and how it stops.
//!
//! Promise: first `ready` says no, for as long as load balancers need to notice (`DRAIN_DELAY`). Then
//! callers who wait are answered, requests under way are finished, and what still arrives is answered
//! 503 `stopping`. Then the rest drains from the outside in, with one deadline: HTTP, consumer, rounds
//! of the repository with their events, publisher, log.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use actix::Arbiter;
use actix_web::dev::ServerHandle;
use futures_util::future::join_all;
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};

use crate::{actors::essential::Deaths, admission::Lifecycle, event_log::EventLog, http::Readiness};

/// A service that runs.
pub struct Running {
    /// Where it answers HTTP.
    pub http_addr: SocketAddr,
    /// Where it answers operators.
    pub admin_addr: SocketAddr,
    pub(super) name: &'static str,
    pub(super) deaths: Deaths,
    pub(super) readiness: Readiness,
    pub(super) lifecycle: Lifecycle,
    pub(super) servers: [ServerHandle; 2],
    pub(super) arbiter: Arbiter,
    pub(super) log: Arc<dyn EventLog>,
    pub(super) drain: Option<oneshot::Sender<oneshot::Sender<()>>>,
    pub(super) drain_delay: Duration,
    pub(super) shutdown_timeout: Duration,
}

impl Running {
    /// The service's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Waits until an actor dies that the service cannot do without; its name.
    pub async fn death(&mut self) -> &'static str {
        match self.deaths.recv().await {
            Some(actor) => actor,
            None => std::future::pending().await,
        }
    }

    /// Stops, finishing what is under way. `false`: not all of it was finished in time; what is left
    /// is durable and goes on at the next start.
    pub async fn stop(self) -> bool {
        self.readiness.waits("service", "it is stopping");
        self.lifecycle.leave();
        if !self.drain_delay.is_zero() {
            log::info!(target: "Service", service = self.name;
                "told to stop: not ready, and serving on for {:?}", self.drain_delay);
            sleep(self.drain_delay).await;
        }
        self.stop_now().await
    }

    /// Stops without waiting for load balancers to notice.
    pub async fn stop_now(mut self) -> bool {
        log::info!(target: "Service", service = self.name; "stopping: finishing what is under way");
        self.readiness.waits("service", "it is stopping");
        let deadline = self.shutdown_timeout;
        let drained = timeout(deadline, async {
            self.lifecycle.stop();
            // Until then connections are taken: who comes now learns that the service is stopping.
            let _ = timeout(deadline / 4, self.lifecycle.until_idle()).await;
            join_all(self.servers.iter().map(|server| server.stop(true))).await;
            let (told, when_drained) = oneshot::channel();
            if let Some(drain) = self.drain.take() {
                let _ = drain.send(told);
            }
            let _ = when_drained.await;
            self.log.close(deadline).await;
        });
        let in_time = drained.await.is_ok();
        if in_time {
            log::info!(target: "Service", service = self.name; "stopped");
        } else {
            log::warn!(target: "Service", service = self.name; "stopped before all was finished: it goes on at the next start");
        }
        self.arbiter.stop();
        in_time
    }
}
