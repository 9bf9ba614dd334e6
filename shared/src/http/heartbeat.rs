//! Whether the thread of the actors still moves.
//!
//! A thread that is blocked, by an endless loop or a call that never returns, answers nobody, and
//! nothing dies of it. So it is asked every second; when it owes an answer for too long, `live` says
//! no and a supervisor starts the process anew.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use actix::ArbiterHandle;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

/// How often the thread is asked, if it has answered.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// A thread that owes an answer for so long is stuck. Its longest work is some milliseconds.
const STUCK_AFTER: Duration = Duration::from_secs(10);

/// What is known of a thread: since when it owes an answer, if it does.
#[derive(Clone, Default)]
pub struct Heartbeat(Arc<Mutex<Option<Instant>>>);

impl Heartbeat {
    /// Asks this thread from now on, until it ends. Never more than one question is open, so a
    /// stuck thread has nothing to catch up with.
    pub fn of(thread: ArbiterHandle) -> Heartbeat {
        let heartbeat = Heartbeat::default();
        let asker = heartbeat.clone();
        actix::spawn(async move {
            loop {
                let (answer, answered) = oneshot::channel();
                asker.owes(Some(Instant::now()));
                let taken = thread.spawn(async move {
                    let _ = answer.send(());
                });
                if !taken || answered.await.is_err() {
                    // It has ended, as it was told to.
                    return asker.owes(None);
                }
                asker.owes(None);
                sleep(ASK_EVERY).await;
            }
        });
        heartbeat
    }

    fn owes(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// Fails with the reason if the thread is stuck. Answers at once.
    pub fn check(&self) -> Result<(), String> {
        let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match since.map(|since| since.elapsed()) {
            Some(silent) if silent >= STUCK_AFTER => Err(format!(
                "the thread of the actors has not answered for {} s",
                silent.as_secs()
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use actix::Arbiter;
    use actix_web::{App, test};

    use super::*;
    use crate::{
        admission::Lifecycle,
        http::{CommonEndpoints, Readiness},
        metrics::Metrics,
    };

    #[actix::test]
    async fn live_says_no_while_the_thread_of_the_actors_is_blocked() {
        tokio::time::pause();
        let arbiter = Arbiter::new();
        let heartbeat = Heartbeat::of(arbiter.handle());
        let common = CommonEndpoints {
            readiness: Readiness::default(),
            metrics: Metrics::new("test"),
            openapi: "",
            heartbeat: heartbeat.clone(),
            lifecycle: Lifecycle::default(),
            refusals: Default::default(),
        };
        let app = test::init_service(App::new().configure(|config| common.configure(config))).await;
        let live = async || {
            let request = test::TestRequest::get().uri("/health/live").to_request();
            let answer = test::call_service(&app, request).await;
            let status = answer.status().as_u16();
            let body = test::read_body(answer).await;
            (status, String::from_utf8_lossy(&body).into_owned())
        };
        assert_eq!(live().await.0, 200);

        let (gate, opened) = mpsc::channel::<()>();
        let (tell, blocked) = oneshot::channel();
        arbiter.spawn_fn(move || {
            let _ = tell.send(());
            let _ = opened.recv();
        });
        blocked.await.unwrap();
        tokio::time::advance(ASK_EVERY).await;
        while heartbeat.0.lock().unwrap().is_none() {
            tokio::task::yield_now().await;
        }
        assert_eq!(live().await.0, 200, "it may be busy");
        tokio::time::advance(STUCK_AFTER).await;
        let (status, body) = live().await;
        assert_eq!(status, 503);
        assert!(body.contains("has not answered for 1"), "{body}");

        drop(gate);
        let (tell, moves) = oneshot::channel();
        arbiter.spawn(async move {
            let _ = tell.send(());
        });
        moves.await.unwrap();
        tokio::task::yield_now().await;
        assert_eq!(live().await.0, 200, "it has answered again");
        arbiter.stop();
    }
}
