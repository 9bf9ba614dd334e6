//! An operator of one service: while things go wrong, replays what is parked, now and then gives it
//! up; when all is well again, gives up what cannot be handled, until nothing is left.

use std::{rc::Rc, time::Duration};

use futures_util::future::LocalBoxFuture;
use shared::{
    actors::{
        consumer::Look,
        repository::{ChangeParked, List},
    },
    document_store::{Document, Order, Query},
    http::parked::ParkedApi,
    parking::{Change, ParkedRecord, ParkedState, Request},
    service::Service,
};
use tokio::time::Instant;

use crate::{
    chance::Chance,
    instance::{Instance, World},
    wire::pause,
};

/// How long the operator waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Records that are looked at at a time.
const PAGE: usize = 20;

/// Clears up, by way of any instance, as long as the seed is played.
pub async fn run<S: Service>(instances: Vec<Rc<Instance<S>>>, world: Rc<World>, chance: Chance) {
    loop {
        let heals = !world.wire.faults.is_active();
        pause(if heals {
            Duration::from_millis(300)
        } else {
            chance.millis(500, 4_000)
        })
        .await;
        let instance = chance.pick(&instances);
        let parked = instance.ask(move |api| Box::pin(async move { list(&api.parked).await }));
        for record in parked.await.flatten().unwrap_or_default() {
            let discard = Request::Discard {
                why: "it cannot be handled".into(),
            };
            let request = if heals || chance.strikes(0.2) {
                discard
            } else if chance.strikes(0.5) {
                Request::Replay
            } else {
                continue;
            };
            let instance = chance.pick(&instances);
            // Where nobody answers, the next look finds it as it then is.
            let asked = instance.ask(move |api| ask(api.parked, record, request));
            asked.await;
        }
    }
}

async fn list(api: &ParkedApi) -> Option<Vec<ParkedRecord>> {
    let query = Query {
        collection: ParkedRecord::COLLECTION.name,
        matching: vec![("state", vec![ParkedState::Parked.index_value()])],
        after: None,
        order: Order::Ascending,
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
        };
        drop(api.change.send(message).await);
        if let Some(consumer) = api.consumer.get() {
            consumer.do_send(Look);
        }
    })
}
