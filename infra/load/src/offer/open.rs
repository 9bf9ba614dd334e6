//! The open loop: each order at its time, whatever became of those before it.

use std::rc::Rc;

use tokio::task::JoinSet;

use super::alarm::Alarm;
use crate::{
    arrivals::{Arrivals, Schedule},
    session::Session,
};

/// Orders under way at most: beyond them the generator itself would be the bottleneck. Those that
/// come later wait, and their waiting counts as latency.
const UNDER_WAY: usize = 8000;

/// Offers orders at the session's rate until there are to be no more; waits for the last answer.
pub async fn offer(session: Rc<Session>, arrivals: Arrivals, seed: u64) -> anyhow::Result<()> {
    let alarm = Alarm::new()?;
    let begin = session.now();
    let mut schedule = Schedule::new(arrivals, seed);
    let mut under_way = JoinSet::new();
    let mut late = 0_u64;
    loop {
        let intended = begin + schedule.next_start(session.rate.get());
        // A pause between slow arrivals is no reason to notice the end late.
        while !session.is_over() && alarm.wait(intended.saturating_sub(session.now())).await? {}
        let Some(order) = session.take(intended) else {
            break;
        };
        if under_way.len() >= UNDER_WAY {
            late += 1;
            under_way.join_next().await;
        }
        while under_way.try_join_next().is_some() {}
        let session = Rc::clone(&session);
        under_way.spawn_local(async move { session.order(order, intended, false).await });
    }
    while under_way.join_next().await.is_some() {}
    if late > 0 {
        let note = format!("{late} orders, as {UNDER_WAY} were unanswered");
        session.notes.borrow_mut().push(("sent late".to_owned(), note));
    }
    Ok(())
}
