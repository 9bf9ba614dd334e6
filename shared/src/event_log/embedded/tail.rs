//! Reads a topic outside any group. Whoever does not drain the receiver pays in memory.

use std::sync::{Arc, Weak};

use tokio::{
    runtime::Handle,
    sync::{
        Notify,
        mpsc::{self, UnboundedSender},
    },
    task::yield_now,
};

use super::{Inner, LogError, MAX_BATCH_BYTES, MAX_BATCH_RECORDS, Offset, tables, tables::Span};
use crate::event_log::{ConsumedRecord, Tail, TailFrom};

struct Registration {
    log: Weak<Inner>,
    number: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(log) = self.log.upgrade() {
            log.state.lock().tails.remove(&self.number);
        }
    }
}

pub(super) fn start(
    log: &Arc<Inner>,
    topic: &str,
    from: TailFrom,
    runtime: &Handle,
) -> Result<Tail, LogError> {
    let wake = Arc::new(Notify::new());
    let (number, name, id, positions) = {
        let mut state = log.state.lock();
        let Some((name, found)) = state.topics.get_key_value(topic) else {
            return Err(LogError::Refused(format!("there is no topic {topic}")));
        };
        let positions: Vec<Offset> = match from {
            TailFrom::Beginning => vec![0; found.ends.len()],
            TailFrom::End => found.ends.clone(),
        };
        let (name, id) = (Arc::clone(name), found.id);
        let number = state.next_number();
        state.tails.insert(number, (Arc::clone(&name), Arc::clone(&wake)));
        (number, name, id, positions)
    };
    let (records, receiver) = mpsc::unbounded_channel();
    let registration = Registration {
        log: Arc::downgrade(log),
        number,
    };
    let spans = (0..)
        .zip(positions)
        .map(|(partition, from)| Span {
            topic: Arc::clone(&name),
            id,
            partition,
            generation: 0,
            from,
            to: from,
        })
        .collect();
    runtime.spawn(run(registration, spans, records, wake));
    Ok(receiver)
}

async fn run(
    registration: Registration,
    mut spans: Vec<Span>,
    records: UnboundedSender<ConsumedRecord>,
    wake: Arc<Notify>,
) {
    loop {
        let Some(log) = registration.log.upgrade() else {
            return;
        };
        match read_some(&log, &mut spans) {
            Ok(found) if found.is_empty() => {}
            Ok(found) => {
                drop(log);
                for record in found {
                    if records.send(record).is_err() {
                        return;
                    }
                }
                yield_now().await;
                continue;
            }
            Err(error) => {
                log::error!("reading a topic ended: {error}");
                return;
            }
        }
        drop(log);
        tokio::select! {
            biased;
            () = records.closed() => return,
            () = wake.notified() => {}
        }
    }
}

fn read_some(log: &Inner, spans: &mut [Span]) -> Result<Vec<ConsumedRecord>, LogError> {
    {
        let state = log.state.lock();
        for span in spans.iter_mut() {
            let ends = state.topics.get(&span.topic).map(|topic| &topic.ends);
            let end = ends.and_then(|ends| ends.get(usize::try_from(span.partition).ok()?));
            span.to = end.copied().unwrap_or(span.from);
        }
    }
    if spans.iter().all(|span| span.from >= span.to) {
        return Ok(Vec::new());
    }
    let records = log
        .engine
        .read(|transaction| tables::read_records(transaction, spans, MAX_BATCH_RECORDS, MAX_BATCH_BYTES))?;
    for record in &records {
        if let Some(span) = spans
            .iter_mut()
            .find(|span| span.partition == record.position.partition)
        {
            span.from = record.position.offset + 1;
        }
    }
    // The next reading begins with another partition, so that none starves.
    spans.rotate_left(1);
    Ok(records)
}
