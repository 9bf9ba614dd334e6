//! The actor that knows who waits for which document to become final (`?wait=2s`).
//!
//! Asked by HTTP endpoints; told by whoever finishes a document in this process, which costs nothing.
//! Documents that another instance finishes are found by asking the RepositoryActor: one look at a
//! time, for at most `IDS_IN_A_LOOK` documents, and for each document less often the longer it is
//! waited for. So what waiting costs does not grow with those who wait. When it fails, callers see
//! their document as it was.

use std::{
    collections::{BTreeMap, BTreeSet},
    marker::PhantomData,
    sync::Arc,
    time::Duration,
};

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient, SpawnHandle, WrapFuture,
};
use tokio::{
    sync::{Semaphore, oneshot},
    time::{Instant, timeout},
};
use uuid::Uuid;

use super::Saga;
use crate::actors::{Reply, essential::Essential, repository::Find};

/// How often somebody is looked for whose document is due to be looked up.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A document is looked up after this time, then after twice that, and so on.
const FIRST_LOOK: Duration = Duration::from_millis(100);
/// Nobody learns later than that, and what an idle wait takes, what another instance has finished,
/// as long as fewer wait than are looked up in this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Reading so many takes a few milliseconds, which others must not notice.
const IDS_IN_A_LOOK: usize = 250;
/// More callers are not kept waiting: each holds a connection and a few hundred bytes.
const MOST_WAITERS: usize = 20_000;
/// Documents that became final a moment ago and are remembered: one may become final between the answer
/// to its command and the wait for it.
const REMEMBERED: usize = 512;

/// Waits until a document is final, at most `patience`; answers it if it is. Where too many wait
/// already, the answer comes at once.
pub struct AwaitFinal<D> {
    id: Uuid,
    patience: Duration,
    of: PhantomData<fn() -> D>,
}

impl<D> AwaitFinal<D> {
    pub fn new(id: Uuid, patience: Duration) -> AwaitFinal<D> {
        AwaitFinal {
            id,
            patience,
            of: PhantomData,
        }
    }
}

impl<D: Saga> Message for AwaitFinal<D> {
    type Result = Option<D>;
}

/// This document is final.
pub struct IsFinal<D>(pub D);

impl<D: Saga> Message for IsFinal<D> {
    type Result = ();
}

/// The actor.
pub struct WatchActor<D: Saga> {
    repository: Recipient<Find<D>>,
    waiting: BTreeMap<Uuid, Awaited<D>>,
    /// When which document is to be looked up; those of the look under way are not in it.
    due: BTreeSet<(Instant, Uuid)>,
    places: Arc<Semaphore>,
    finished: Finished<D>,
    /// Runs while somebody waits.
    ticking: Option<SpawnHandle>,
    looking: bool,
    _essential: Essential,
}

/// A document that somebody waits for.
struct Awaited<D> {
    callers: Vec<oneshot::Sender<D>>,
    /// How often it was looked up.
    looks: u32,
    /// `None`: now.
    due: Option<Instant>,
}

/// The documents that became final last: all of the newer half, and those before them.
struct Finished<D> {
    newer: BTreeMap<Uuid, D>,
    older: BTreeMap<Uuid, D>,
}

impl<D: Saga> Finished<D> {
    fn none() -> Finished<D> {
        Finished {
            newer: BTreeMap::new(),
            older: BTreeMap::new(),
        }
    }

    fn remember(&mut self, document: D) {
        if self.newer.len() >= REMEMBERED {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(document.id(), document);
    }

    fn recall(&self, id: Uuid) -> Option<D> {
        self.newer.get(&id).or_else(|| self.older.get(&id)).cloned()
    }
}

impl<D: Saga> WatchActor<D> {
    /// An actor that looks documents up there.
    pub fn new(repository: Recipient<Find<D>>, essential: Essential) -> WatchActor<D> {
        WatchActor {
            repository,
            waiting: BTreeMap::new(),
            due: BTreeSet::new(),
            places: Arc::new(Semaphore::new(MOST_WAITERS)),
            finished: Finished::none(),
            ticking: None,
            looking: false,
            _essential: essential,
        }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        if self.looking {
            return;
        }
        let ids = self.take_due(Instant::now());
        if self.waiting.is_empty() {
            if let Some(ticking) = self.ticking.take() {
                ctx.cancel_future(ticking);
            }
            return;
        }
        if ids.is_empty() {
            return;
        }
        self.looking = true;
        let found = self.repository.send(Find::new(ids.iter().copied()));
        let tell = found.into_actor(self).map(move |found, actor, _| {
            actor.looking = false;
            let found = found.ok().and_then(Result::ok).unwrap_or_default();
            found
                .into_iter()
                .filter(Saga::is_final)
                .for_each(|document| actor.tell(document));
            ids.into_iter().for_each(|id| actor.look_again(id));
        });
        ctx.spawn(tell);
    }

    /// The documents that are to be looked up now, those that are due longest first.
    fn take_due(&mut self, now: Instant) -> Vec<Uuid> {
        let mut ids = Vec::new();
        while ids.len() < IDS_IN_A_LOOK
            && let Some(&(due, id)) = self.due.first()
            && due <= now
        {
            self.due.pop_first();
            let Some(awaited) = self.waiting.get_mut(&id) else {
                continue;
            };
            // Callers whose time was up have hung up.
            awaited.callers.retain(|caller| !caller.is_closed());
            if awaited.callers.is_empty() {
                self.waiting.remove(&id);
            } else {
                awaited.due = None;
                ids.push(id);
            }
        }
        ids
    }

    fn look_again(&mut self, id: Uuid) {
        // One that was told and is awaited anew is due already.
        if let Some(awaited) = self.waiting.get_mut(&id).filter(|awaited| awaited.due.is_none()) {
            awaited.looks += 1;
            let pause = FIRST_LOOK
                .saturating_mul(1 << awaited.looks.min(16))
                .min(LONGEST_PAUSE);
            let due = Instant::now() + pause;
            awaited.due = Some(due);
            self.due.insert((due, id));
        }
    }

    fn tell(&mut self, document: D) {
        if let Some(awaited) = self.waiting.remove(&document.id()) {
            if let Some(due) = awaited.due {
                self.due.remove(&(due, document.id()));
            }
            for caller in awaited.callers {
                let _ = caller.send(document.clone());
            }
        }
        self.finished.remember(document);
    }
}

impl<D: Saga> Actor for WatchActor<D> {
    type Context = Context<Self>;
}

impl<D: Saga> Handler<AwaitFinal<D>> for WatchActor<D> {
    type Result = Reply<Option<D>>;

    fn handle(
        &mut self,
        AwaitFinal { id, patience, .. }: AwaitFinal<D>,
        ctx: &mut Context<Self>,
    ) -> Self::Result {
        if let Some(found) = self.finished.recall(id) {
            return Reply::by(async { Some(found) });
        }
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            return Reply::by(async { None });
        };
        let (caller, told) = oneshot::channel();
        let due = Instant::now() + FIRST_LOOK;
        let awaited = self.waiting.entry(id).or_insert_with(|| {
            self.due.insert((due, id));
            Awaited {
                callers: Vec::new(),
                looks: 0,
                due: Some(due),
            }
        });
        awaited.callers.push(caller);
        if self.ticking.is_none() {
            self.ticking = Some(ctx.run_interval(LOOK_EVERY, Self::look));
        }
        Reply::by(async move {
            let told = timeout(patience, told).await;
            drop(place);
            told.ok()?.ok()
        })
    }
}

impl<D: Saga> Handler<IsFinal<D>> for WatchActor<D> {
    type Result = ();

    fn handle(&mut self, IsFinal(document): IsFinal<D>, _: &mut Context<Self>) {
        self.tell(document);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use actix::{Addr, ResponseFuture};
    use tokio::time::sleep;

    use super::*;
    use crate::{
        actors::{
            essential::Essentials,
            repository::{Found, RepositoryError},
        },
        saga::parcel::Parcel,
    };

    const LONG: Duration = Duration::from_secs(30);

    /// What the repository was asked for, and what it will find.
    #[derive(Default)]
    struct Seen {
        looks: Vec<Vec<Uuid>>,
        under_way: usize,
        most_under_way: usize,
        stored: Vec<Parcel>,
    }

    /// In the place of the repository: takes `takes` for each look.
    struct Probe {
        seen: Arc<Mutex<Seen>>,
        takes: Duration,
    }

    impl Actor for Probe {
        type Context = Context<Self>;
    }

    impl Handler<Find<Parcel>> for Probe {
        type Result = ResponseFuture<Result<Found<Parcel>, RepositoryError>>;

        fn handle(&mut self, find: Find<Parcel>, _: &mut Context<Self>) -> Self::Result {
            let (seen, takes) = (self.seen.clone(), self.takes);
            {
                let mut seen = seen.lock().unwrap();
                seen.under_way += 1;
                seen.most_under_way = seen.most_under_way.max(seen.under_way);
                seen.looks.push(find.ids().to_vec());
            }
            Box::pin(async move {
                sleep(takes).await;
                let mut seen = seen.lock().unwrap();
                seen.under_way -= 1;
                let asked = |parcel: &&Parcel| find.ids().contains(&parcel.id);
                Ok(Found {
                    documents: seen.stored.iter().filter(asked).cloned().collect(),
                    ..Found::default()
                })
            })
        }
    }

    /// With time that passes when nothing else is left to do.
    fn watch(takes: Duration) -> (Addr<WatchActor<Parcel>>, Arc<Semaphore>, Arc<Mutex<Seen>>) {
        tokio::time::pause();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let probe = Probe {
            seen: seen.clone(),
            takes,
        };
        let (essentials, _) = Essentials::new();
        let repository = probe.start().recipient();
        let watch = WatchActor::new(repository, essentials.guard("WatchActor"));
        let places = watch.places.clone();
        (watch.start(), places, seen)
    }

    fn wait(id: u128, patience: Duration) -> AwaitFinal<Parcel> {
        AwaitFinal::new(Uuid::from_u128(id), patience)
    }

    #[actix::test]
    async fn a_document_is_looked_up_less_often_the_longer_it_is_waited_for() {
        let (watch, places, seen) = watch(Duration::ZERO);
        assert_eq!(watch.send(wait(1, LONG)).await.unwrap(), None);
        let looks = seen.lock().unwrap().looks.len();
        // 0.1, 0.3, 0.7, 1.5, 3.1 s and every 2 s from there on.
        assert!((15..=19).contains(&looks), "{looks} looks");
        assert_eq!(places.available_permits(), MOST_WAITERS);
        sleep(LONG).await;
        let afterwards = seen.lock().unwrap().looks.len();
        assert_eq!(afterwards, looks, "nobody waits, nothing is looked up");
    }

    #[actix::test]
    async fn looks_never_overlap_and_are_bounded_however_many_wait() {
        let (watch, _, seen) = watch(Duration::from_millis(350));
        let waiting: Vec<_> = (1..=2000)
            .map(|id| actix::spawn(watch.send(wait(id, LONG))))
            .collect();
        sleep(Duration::from_secs(5)).await;
        seen.lock().unwrap().stored = (1..=1000).map(Parcel::delivered).collect();
        let mut delivered = 0;
        for waiting in waiting {
            delivered += usize::from(waiting.await.unwrap().unwrap().is_some());
        }
        assert_eq!(delivered, 1000);
        let seen = seen.lock().unwrap();
        assert_eq!(seen.most_under_way, 1);
        let most = seen.looks.iter().map(Vec::len).max();
        assert_eq!(most, Some(IDS_IN_A_LOOK));
        // A look takes 350 ms and the next begins with the next tick.
        assert!(seen.looks.len() <= 30_000 / 400 + 1, "{} looks", seen.looks.len());
    }

    #[actix::test]
    async fn what_is_finished_here_is_told_at_once_and_without_a_look() {
        let (watch, _, seen) = watch(Duration::ZERO);
        let waiting = [(); 2].map(|()| actix::spawn(watch.send(wait(1, LONG))));
        tokio::task::yield_now().await;
        let begin = Instant::now();
        let delivered = Parcel::delivered(1);
        watch.send(IsFinal(delivered.clone())).await.unwrap();
        for waiting in waiting {
            assert_eq!(waiting.await.unwrap().unwrap(), Some(delivered.clone()));
        }
        // It may have become final before anybody waited.
        let late = watch.send(wait(1, LONG)).await.unwrap();
        assert_eq!((late, begin.elapsed()), (Some(delivered), Duration::ZERO));
        assert!(seen.lock().unwrap().looks.is_empty());
    }

    #[actix::test]
    async fn beyond_the_bound_nobody_is_kept_waiting() {
        let (watch, places, _) = watch(Duration::ZERO);
        let others = places
            .clone()
            .try_acquire_many_owned(MOST_WAITERS as u32)
            .unwrap();
        let begin = Instant::now();
        assert_eq!(watch.send(wait(1, LONG)).await.unwrap(), None);
        assert_eq!(begin.elapsed(), Duration::ZERO);
        drop(others);
        assert_eq!(watch.send(wait(1, Duration::from_secs(1))).await.unwrap(), None);
        assert!(
            begin.elapsed() >= Duration::from_secs(1),
            "there is a place again"
        );
    }
}
