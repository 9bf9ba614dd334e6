//! The actor that announces documents again which are not final after a while, so that none is
//! forgotten, whatever was lost on the way: whoever answers gives a known one the same answer.
//!
//! Asks the RepositoryActor for open documents, page by page, and lets it announce those that are due:
//! the event goes through the outbox of its document as every other. When each was announced stands in
//! the document itself. So instances share the work without a word: who writes first announces, and the
//! version guard makes the others look again. A share by hash of the key would need to know who is
//! alive; jitter alone would announce twice.
//!
//! One look handles so many documents; the next goes on behind them, so that the first ones never hide
//! those behind. When the actor fails, the service ends.

use std::{
    marker::PhantomData,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Recipient, ResponseActFuture, WrapFuture};
use futures_util::future::join_all;
use prometheus::IntCounter;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Pauses, Saga};
use crate::{
    actors::{
        essential::Essential,
        repository::{Command, Execute, List},
    },
    document_store::{Direction, DocumentKey, IndexValue, Query, key},
    environment::{Environment, Timestamp},
    events::About,
    logging::Step,
};

/// Documents that are read at a time.
const PAGE: usize = 500;
/// Documents that are looked at in one go.
const AT_MOST: usize = 10_000;
/// Documents that are announced at a time: a part of what a round takes, so that requests are not
/// held up.
const AT_A_TIME: usize = 64;
/// Where the database takes longer, the next look goes on.
const ANNOUNCED_WITHIN: Duration = Duration::from_secs(10);

/// What the actor has seen of documents that are open for long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenForLong {
    /// How many.
    pub documents: usize,
    /// When the oldest was created.
    pub oldest: Option<Timestamp>,
}

impl OpenForLong {
    fn add(&mut self, since: Timestamp, after: Duration, now: Timestamp) {
        if since.is_past(after, now) {
            self.documents += 1;
            self.oldest = self.oldest.into_iter().chain([since]).min();
        }
    }
}

/// Tells another actor what was seen.
#[derive(Debug, Clone, Default)]
pub struct SeenOpen(Arc<Mutex<OpenForLong>>);

impl SeenOpen {
    /// As it was seen last.
    pub fn get(&self) -> OpenForLong {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, seen: OpenForLong) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }
}

/// Announces a document again that stays open, if that is due. Replies whether it was.
#[derive(Debug, Clone)]
pub struct AnnounceAgain<D> {
    id: Uuid,
    about: About,
    pauses: Pauses,
    of: PhantomData<fn() -> D>,
}

impl<D: Saga> Command for AnnounceAgain<D> {
    type Workspace = D::Workspace;
    type Reply = bool;

    fn documents(&self) -> Vec<DocumentKey> {
        vec![key::<D>(self.id)]
    }

    fn decide(&self, documents: &mut D::Workspace, now: Timestamp) -> bool {
        let copies = D::copies(documents);
        let again = copies
            .get(self.id)
            .and_then(|document| document.announce_again(self.pauses, now));
        let due = again.is_some();
        if let Some(document) = again {
            let event = document.announcement();
            copies.put(document, [event]);
        }
        due
    }

    fn committed(&self, announced: &bool) {
        if *announced {
            Step::of(&self.about).log(
                log::Level::Warn,
                "RepositoryActor",
                format_args!("not final yet, announced again"),
            );
        }
    }
}

/// The actor.
pub struct ReannouncementActor<D: Saga> {
    reader: Reader<D>,
    environment: Environment,
    announced: IntCounter,
    seen_open: SeenOpen,
    pass: Pass,
    /// Since this process began; the first one does not wait for doubled pauses: whoever restarts a
    /// service may just have mended what held its documents up.
    first_pass: bool,
    _essential: Essential,
}

/// One way through all open documents, in several looks where there are many.
#[derive(Debug, Clone, Copy, Default)]
struct Pass {
    /// Behind which document it goes on.
    after: Option<Uuid>,
    /// What it has seen until there.
    seen: OpenForLong,
    /// Announced in the last look.
    announced: usize,
    /// It has seen all.
    complete: bool,
}

impl<D: Saga> ReannouncementActor<D> {
    /// An actor that announces documents again `after` that time.
    pub fn new(
        list: Recipient<List<D>>,
        announce: Recipient<Execute<AnnounceAgain<D>>>,
        environment: Environment,
        after: Duration,
        (announced, seen_open): (IntCounter, SeenOpen),
        essential: Essential,
    ) -> ReannouncementActor<D> {
        ReannouncementActor {
            reader: Reader {
                list,
                announce,
                after,
            },
            environment,
            announced,
            seen_open,
            pass: Pass::default(),
            first_pass: true,
            _essential: essential,
        }
    }

    fn look_later(&self, ctx: &mut Context<Self>) {
        let pause = self.environment.jitter(self.reader.after / 2);
        ctx.run_later(pause, |actor, ctx| {
            let look = actor.look();
            ctx.spawn(look);
        });
    }

    fn look(&mut self) -> ResponseActFuture<Self, ()> {
        let (reader, pass, now) = (self.reader.clone(), self.pass, self.environment.now());
        let pauses = Pauses {
            after: reader.after,
            double: !self.first_pass,
        };
        let look = async move { reader.go_on(pass, pauses, now).await }.into_actor(self);
        Box::pin(look.map(|pass, actor, ctx| {
            actor.announced.inc_by(pass.announced as u64);
            if pass.complete || pass.seen.documents > actor.seen_open.get().documents {
                actor.seen_open.set(pass.seen);
            }
            actor.first_pass &= !pass.complete;
            actor.pass = if pass.complete { Pass::default() } else { pass };
            actor.look_later(ctx);
        }))
    }
}

impl<D: Saga> Actor for ReannouncementActor<D> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.look_later(ctx);
    }
}

#[derive(Clone)]
struct Reader<D: Saga> {
    list: Recipient<List<D>>,
    announce: Recipient<Execute<AnnounceAgain<D>>>,
    after: Duration,
}

impl<D: Saga> Reader<D> {
    /// Goes on with a pass: as it then is. Documents that cannot be read are left out; the repository
    /// tells of them.
    async fn go_on(&self, mut pass: Pass, pauses: Pauses, now: Timestamp) -> Pass {
        pass.announced = 0;
        for _ in 0..AT_MOST / PAGE {
            let (field, value) = D::OPEN;
            let query = Query {
                collection: D::COLLECTION.name,
                matching: vec![(field, vec![IndexValue::Int(value)])],
                after: pass.after,
                order: Direction::Ascending,
                limit: PAGE,
            };
            let page = match self.list.send(List::new(query)).await {
                Ok(Ok(page)) => page,
                Ok(Err(error)) => {
                    log::warn!(target: "ReannouncementActor", "open documents of {} cannot be read: {error}", D::COLLECTION.name);
                    return pass;
                }
                Err(_) => return pass,
            };
            pass.after = page.next;
            page.iter()
                .for_each(|document| pass.seen.add(document.since(), self.after, now));
            let due = |document: &&D| document.announce_again(pauses, now).is_some();
            let due: Vec<_> = page.iter().filter(due).collect();
            for documents in due.chunks(AT_A_TIME) {
                pass.announced += self.announce(documents, pauses).await;
            }
            if pass.after.is_none() {
                pass.complete = true;
                break;
            }
        }
        pass
    }

    /// How many of the documents were announced; others are final or announced by somebody else.
    async fn announce(&self, documents: &[&D], pauses: Pauses) -> usize {
        let announced = documents.iter().map(|document| {
            self.announce.send(Execute {
                command: AnnounceAgain {
                    id: document.id(),
                    about: document.about(),
                    pauses,
                    of: PhantomData,
                },
                turn: None,
                deadline: Some(Instant::now() + ANNOUNCED_WITHIN),
                permit: None,
            })
        });
        let mut count = 0;
        for (document, announced) in documents.iter().zip(join_all(announced).await) {
            match announced {
                Ok(Ok(announced)) => count += usize::from(announced),
                Ok(Err(error)) => {
                    Step::of(&document.about()).log(
                        log::Level::Warn,
                        "ReannouncementActor",
                        format_args!("cannot be announced again: {error}"),
                    );
                }
                Err(_) => {}
            }
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use actix::{Handler, MessageResult};

    use super::*;
    use crate::{actors::repository::Found, saga::parcel::Parcel};

    const HOUR: Duration = Duration::from_secs(3600);

    /// A repository with so many open parcels, of which every hundredth cannot be read.
    #[derive(Default)]
    struct Repository {
        parcels: u128,
        announced: Vec<Uuid>,
    }

    impl Actor for Repository {
        type Context = Context<Self>;
    }

    impl Handler<List<Parcel>> for Repository {
        type Result = MessageResult<List<Parcel>>;

        fn handle(&mut self, list: List<Parcel>, _: &mut Context<Self>) -> Self::Result {
            let after = list.query().after.map_or(0, |after| after.as_u128());
            let last = self.parcels.min(after + list.query().limit as u128);
            let (unreadable, readable): (Vec<_>, Vec<_>) =
                (after + 1..=last).partition(|number| number % 100 == 0);
            MessageResult(Ok(Found {
                documents: readable.into_iter().map(Parcel::open).collect(),
                unreadable: unreadable.iter().map(ToString::to_string).collect(),
                next: (last < self.parcels).then(|| Uuid::from_u128(last)),
            }))
        }
    }

    impl Handler<Execute<AnnounceAgain<Parcel>>> for Repository {
        type Result = MessageResult<Execute<AnnounceAgain<Parcel>>>;

        fn handle(&mut self, execute: Execute<AnnounceAgain<Parcel>>, _: &mut Context<Self>) -> Self::Result {
            self.announced.push(execute.command.id);
            MessageResult(Ok(true))
        }
    }

    #[derive(actix::Message)]
    #[rtype(result = "Vec<Uuid>")]
    struct Announced;

    impl Handler<Announced> for Repository {
        type Result = MessageResult<Announced>;

        fn handle(&mut self, _: Announced, _: &mut Context<Self>) -> Self::Result {
            MessageResult(self.announced.clone())
        }
    }

    #[test]
    fn what_one_look_does_not_reach_the_next_one_does() {
        actix::System::new().block_on(async {
            const PARCELS: u128 = AT_MOST as u128 + 700;
            let repository = Repository {
                parcels: PARCELS,
                ..Repository::default()
            };
            let repository = repository.start();
            let reader = Reader {
                list: repository.clone().recipient(),
                announce: repository.clone().recipient(),
                after: HOUR,
            };
            let pauses = Pauses {
                after: HOUR,
                double: true,
            };
            let now = Timestamp(0).after(HOUR);
            let first = reader.go_on(Pass::default(), pauses, now).await;
            assert!(!first.complete);
            let second = reader.go_on(first, pauses, now).await;
            assert!(second.complete);

            // Those that cannot be read stop neither the page nor the pass.
            let readable = PARCELS - PARCELS / 100;
            let oldest = Some(Timestamp(0));
            let seen = OpenForLong {
                documents: readable as usize,
                oldest,
            };
            assert_eq!(second.seen, seen);
            assert_eq!((first.announced + second.announced) as u128, readable);
            let mut announced = repository.send(Announced).await.unwrap();
            announced.dedup();
            assert_eq!(announced.len() as u128, readable, "each once");
        });
    }
}
