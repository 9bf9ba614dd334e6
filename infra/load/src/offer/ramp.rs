//! Faster and faster, until the system does not keep up.

use std::time::Duration;

use crate::session::Session;

/// Each step is so much faster than the last.
const STEEPNESS: f64 = 1.25;
/// How often what is open is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// What may pile up in a step: this share of what is offered in it.
const TOLERATED: f64 = 0.02;
/// And so many orders, as small numbers vary.
const FEW: f64 = 10.0;

/// Climbs until what is open grows, then ends the offering. Notes the highest rate at which it did not.
pub async fn climb(session: &Session, warm_up: Duration, step: Duration) -> anyhow::Result<()> {
    session.sleep(warm_up).await;
    let mut ceiling = None;
    let mut again = false;
    while !session.is_over() {
        let rate = session.rate.get();
        let Some(kept_up) = keeps_up(session, rate, step).await else {
            break;
        };
        eprintln!(
            "load: {rate:.0} orders/s: {}",
            if kept_up {
                "kept up with"
            } else {
                "the backlog grows"
            }
        );
        match (kept_up, again) {
            (true, _) => {
                ceiling = Some(rate);
                again = false;
                session.rate.set(rate * STEEPNESS);
            }
            // Machines have hiccups: a second chance.
            (false, false) => again = true,
            (false, true) => break,
        }
    }
    session.end();
    let told = match ceiling {
        Some(rate) => format!("{rate:.0} orders/s"),
        None => "below the first step".to_owned(),
    };
    session.notes.borrow_mut().push(("ceiling".to_owned(), told));
    Ok(())
}

/// Compares what is open in the second quarter of a step with its last quarter. `None`: there is to be
/// no more.
async fn keeps_up(session: &Session, rate: f64, step: Duration) -> Option<bool> {
    let begin = session.now();
    let refused = session.ledger.borrow().refusals();
    let (mut early, mut late) = (Vec::new(), Vec::new());
    loop {
        let share = (session.now() - begin).as_secs_f64() / step.as_secs_f64();
        if share >= 1.0 {
            break;
        }
        let open = session.ledger.borrow().open() as f64;
        match share {
            0.25..0.5 => early.push(open),
            0.75.. => late.push(open),
            _ => {}
        }
        if session.is_over() || !session.sleep(LOOK).await {
            return None;
        }
    }
    let mean = |open: &[f64]| open.iter().sum::<f64>() / open.len().max(1) as f64;
    let tolerated = FEW + TOLERATED * rate * step.as_secs_f64() / 2.0;
    let none_refused = session.ledger.borrow().refusals() == refused;
    Some(none_refused && mean(&late) - mean(&early) <= tolerated)
}
