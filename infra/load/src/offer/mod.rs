//! Offering orders: by callers that wait for answers, or by a clock that does not.

use std::rc::Rc;

use crate::{
    session::Session,
    workload::{Pace, Workload},
};

mod alarm;
mod open;
mod ramp;

/// Offers orders until there are to be no more, and returns when all of them are answered.
pub async fn offer(session: Rc<Session>, load: &Workload) -> anyhow::Result<()> {
    match load.pace {
        Pace::Closed { callers } => closed(session, callers).await,
        Pace::Open { rate, arrivals } => {
            session.rate.set(rate);
            open::offer(session, arrivals, load.seed).await
        }
        Pace::Ramp { from, arrivals, step } => {
            session.rate.set(from);
            tokio::try_join!(
                open::offer(Rc::clone(&session), arrivals, load.seed),
                ramp::climb(&session, load.warm_up, step),
            )?;
            Ok(())
        }
    }
}

/// Each caller sends its next order when the last one is answered.
async fn closed(session: Rc<Session>, callers: usize) -> anyhow::Result<()> {
    let mut calling = tokio::task::JoinSet::new();
    for _ in 0..callers {
        let session = Rc::clone(&session);
        calling.spawn_local(async move {
            loop {
                let now = session.now();
                let Some(order) = session.take(now) else { break };
                session.order(order, now, true).await;
            }
        });
    }
    while let Some(called) = calling.join_next().await {
        called?;
    }
    Ok(())
}
