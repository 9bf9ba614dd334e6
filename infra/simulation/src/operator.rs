//! An operator of one service. While things go wrong he replays what is parked, puts another value in
//! its place, gives it up, or asks for two of these at once; mostly at a bad moment, since he does not
//! look at what goes on. When all is well again he gives up what cannot be handled, until nothing is
//! left.
//!
//! He gives up only what nobody misses: poison, and second copies of an event. So whatever else was
//! parked has to be handled in the end.

use std::{rc::Rc, time::Duration};

use futures_util::future::{LocalBoxFuture, join_all};
use shared::{
    actors::{
        consumer::Look,
        repository::{ChangeParked, List, Stop},
    },
    document_store::{Direction, Document, Query},
    http::parked::ParkedApi,
    parking::{Change, ParkedRecord, ParkedState, Request},
    service::Service,
};
use tokio::time::Instant;

use crate::{
    chance::Chance,
    faults::Fault,
    instance::{Instance, World},
    seen::Given,
    stranger,
    wire::pause,
};

/// How long the operator waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Records that are looked at at a time.
const PAGE: usize = 20;

/// Clears up, by way of any instance, as long as the seed is played.
pub async fn run<S: Service>(instances: Vec<Rc<Instance<S>>>, world: Rc<World>, chance: Chance) {
    let hurry = *chance.pick(&[300, 1_500, 4_000]);
    loop {
        let clears_up = world.clears_up.get();
        pause(if clears_up {
            Duration::from_millis(300)
        } else {
            chance.millis(100, hurry)
        })
        .await;
        if !clears_up && !world.wire.faults.is_active() {
            // All is well again; what is parked shall hold nobody up.
            continue;
        }
        let states = match clears_up {
            true => vec![ParkedState::Parked],
            false => ParkedState::OPEN.to_vec(),
        };
        let instance = chance.pick(&instances);
        let parked = instance.ask(move |api| Box::pin(async move { list(&api.parked, &states).await }));
        for record in parked.await.flatten().unwrap_or_default() {
            let requests = match clears_up {
                true => vec![discard()],
                false => requests(&world, &chance, S::DEFAULTS.group, &record),
            };
            // Where nobody answers, the next look finds it as it then is.
            let asked = requests.into_iter().map(|request| {
                let (instance, record) = (chance.pick(&instances), record.clone());
                instance.ask(move |api| ask(api.parked, record, request))
            });
            join_all(asked.collect::<Vec<_>>()).await;
        }
    }
}

fn discard() -> Request {
    Request::Discard {
        why: "it cannot be handled".into(),
    }
}

/// What comes to his mind about this record.
fn requests(world: &World, chance: &Chance, group: &str, record: &ParkedRecord) -> Vec<Request> {
    let given: Given = (group.to_owned(), record.partition, record.offset);
    let missed = !world.observer.with(|seen| {
        let copy = (record.partition, record.offset);
        seen.poison.contains_key(&given) || seen.copies.contains(&copy)
    });
    let another = || match (missed, stranger::mended(world, chance, &given)) {
        (false, Some(value)) => Some(Request::Edit { value }),
        // The same value once more is no harm.
        _ => {
            let value = record.as_it_came().value?;
            Some(Request::Edit {
                value: String::from_utf8(value).ok()?,
            })
        }
    };
    let one = || match chance.below(10) {
        0..=2 => Some(Request::Replay),
        3 | 4 => another(),
        5 | 6 if !missed => Some(discard()),
        _ => None,
    };
    let twice = world.wire.faults.strikes(Fault::OperatorsRace);
    one().into_iter().chain(twice.then(one).flatten()).collect()
}

async fn list(api: &ParkedApi, states: &[ParkedState]) -> Option<Vec<ParkedRecord>> {
    let query = Query {
        collection: ParkedRecord::COLLECTION.name,
        matching: vec![("state", states.iter().map(|state| state.index_value()).collect())],
        after: None,
        order: Direction::Ascending,
        limit: PAGE,
    };
    let found = api.list.send(List::new(query)).await.ok()?.ok()?;
    Some(found.documents)
}

fn ask(api: ParkedApi, record: ParkedRecord, request: Request) -> LocalBoxFuture<'static, ()> {
    Box::pin(async move {
        let message = ChangeParked {
            id: record.id,
            change: Change::Request {
                request,
                correlation_id: "operator".into(),
            },
            deadline: Some(Instant::now() + PATIENCE),
            stop: Stop::default(),
        };
        drop(api.change.send(message).await);
        if let Some(consumer) = api.consumer.get() {
            consumer.do_send(Look);
        }
    })
}
