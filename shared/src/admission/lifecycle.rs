//! Whether a service still takes requests, and how many are under way.
//!
//! Promise: once it stops, a request that is under way is answered, one that waits for something is
//! answered at once, and one that arrives gets an answer that says so, until the connections are closed.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use tokio::sync::{Notify, watch};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    Leaving,
    Stopping,
}

/// Shared by everything that answers HTTP for one service.
#[derive(Clone)]
pub struct Lifecycle(Arc<State>);

struct State {
    phase: watch::Sender<Phase>,
    under_way: AtomicUsize,
    idle: Notify,
}

/// A request that was let in; over when dropped.
pub struct UnderWay(Arc<State>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.0.under_way.fetch_sub(1, SeqCst) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

impl Default for Lifecycle {
    fn default() -> Lifecycle {
        Lifecycle(Arc::new(State {
            phase: watch::Sender::new(Phase::Serving),
            under_way: AtomicUsize::new(0),
            idle: Notify::new(),
        }))
    }
}

impl Lifecycle {
    /// Lets a request in; `None` where the service is stopping.
    pub fn enter(&self) -> Option<UnderWay> {
        // Counted first: whoever waits for the last request then cannot miss this one.
        self.0.under_way.fetch_add(1, SeqCst);
        let under_way = UnderWay(self.0.clone());
        (*self.0.phase.borrow() < Phase::Stopping).then_some(under_way)
    }

    /// From now on callers are asked to close their connections; requests are still served.
    pub fn leave(&self) {
        self.0.phase.send_replace(Phase::Leaving);
    }

    /// From now on no request is let in.
    pub fn stop(&self) {
        self.0.phase.send_replace(Phase::Stopping);
    }

    /// Whether callers should close their connections.
    pub fn is_leaving(&self) -> bool {
        *self.0.phase.borrow() > Phase::Serving
    }

    /// Waits until no request is let in any more.
    pub async fn stopping(&self) {
        let mut phase = self.0.phase.subscribe();
        // Fails only without a sender, which `self` holds.
        let _ = phase.wait_for(|phase| *phase == Phase::Stopping).await;
    }

    /// Waits until no request is under way.
    pub async fn until_idle(&self) {
        loop {
            // Made before the look: it learns of everything that is told from here on.
            let idle = self.0.idle.notified();
            if self.0.under_way.load(SeqCst) == 0 {
                return;
            }
            idle.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[actix::test]
    async fn who_stops_lets_none_in_and_waits_for_those_that_are_in() {
        let lifecycle = Lifecycle::default();
        let (one, two) = (lifecycle.enter().unwrap(), lifecycle.enter().unwrap());
        lifecycle.leave();
        assert!(lifecycle.is_leaving() && lifecycle.enter().is_some());
        assert!(lifecycle.stopping().now_or_never().is_none());
        lifecycle.stop();
        lifecycle.stopping().await;
        assert!(lifecycle.enter().is_none());
        drop(one);
        let idle = actix::spawn({
            let lifecycle = lifecycle.clone();
            async move { lifecycle.until_idle().await }
        });
        tokio::task::yield_now().await;
        assert!(!idle.is_finished());
        drop(two);
        idle.await.unwrap();
    }
}
