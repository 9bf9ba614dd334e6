//! The actor that alone owns the database and commits in groups.
//!
//! Commands that arrive while a commit is under way wait together; the next round takes all of
//! them. No timer: an idle system commits at once, a busy one in batches. At most two
//! rounds at a time, never two over the same document, so commands on a document are decided in the
//! order in which they arrived.
//!
//! Asked by HTTP endpoints and event handlers; asks the [`PublisherActor`](super::publisher). When
//! the database is away, commands wait in their order; those from requests give up at their deadline.

use std::{cell::RefCell, collections::BTreeSet, rc::Rc, sync::Arc, time::Duration};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, ResponseFuture};
use tokio::{sync::oneshot, time::Instant};

use crate::{
    actors::essential::{Check, Drain, Essential},
    contracts::EventId,
    document_store::{CollectionSettings, DocumentKey, DocumentStore, Mark, StoreError},
    mutants::{self, Mutant},
};

mod command;
mod marks;
mod memory;
mod outbox_ledger;
mod parking;
pub mod planner;
mod profile;
mod queries;
mod round;
mod sweep;
mod workspace;

pub use command::{Command, Execute, Turn};
use command::{Pending, Task};
use outbox_ledger::OutboxLedger;
pub use parking::{ChangeJob, ChangeParked, Changed, ListOpen, OpenRecord};
use planner::RoundPlanner;
pub use profile::WriteProfile;
pub use queries::{Count, Find, Found, List};
use round::{Aftermath, HandOver, Tools};
pub use workspace::{Change, Copies, CopiesOf, Parking, Workspace};

/// How often commands are looked for that wait behind stuck rounds beyond their deadline.
const EXPIRE_EVERY: Duration = Duration::from_millis(500);

/// Why a command has no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RepositoryError {
    /// The database is away; nothing was changed.
    #[error("{0}")]
    Unavailable(String),
    /// The database did not answer in time: what was asked may have happened.
    #[error("{0}")]
    OutcomeUnknown(String),
    /// A document cannot be read; somebody has to act.
    #[error("{0}")]
    Unfit(String),
    /// The rules panicked: a bug.
    #[error("deciding failed: {0}")]
    Panicked(String),
    /// The service ends before the answer is known.
    #[error("the service is stopping")]
    Stopping,
}

impl From<StoreError> for RepositoryError {
    fn from(error: StoreError) -> RepositoryError {
        let text = error.to_string();
        match error {
            StoreError::Unavailable(_) => RepositoryError::Unavailable(text),
            StoreError::OutcomeUnknown(_) => RepositoryError::OutcomeUnknown(text),
            StoreError::Unfit(_) => RepositoryError::Unfit(text),
        }
    }
}

/// The actor. `W` are the service's documents.
pub struct RepositoryActor<W: Workspace> {
    tools: Tools,
    collections: &'static [CollectionSettings],
    /// Set by [`Begin`].
    prepared: bool,
    planner: RoundPlanner<Box<dyn Task<W>>>,
    rounds: usize,
    /// Rounds are started once what has arrived is taken in.
    rounds_due: bool,
    marks: Vec<Mark>,
    /// They are being set.
    marking: bool,
    /// They will be, soon.
    marks_due: bool,
    sweeping: bool,
    /// What was marked while the sweep under way may have read it as it was before.
    marked_meanwhile: BTreeSet<DocumentKey>,
    draining: Vec<oneshot::Sender<()>>,
    telling: queries::Telling,
    _essential: Essential,
}

/// What a [`RepositoryActor`] is made of.
pub struct RepositorySettings {
    /// The database.
    pub store: Arc<dyn DocumentStore>,
    /// Its collections.
    pub collections: &'static [CollectionSettings],
    /// How it is written.
    pub profile: WriteProfile,
    /// Who publishes.
    pub publisher: actix::Recipient<super::publisher::Publish>,
    /// Clock, ids, chance.
    pub environment: crate::environment::Environment,
    /// Where rounds are counted.
    pub metrics: crate::metrics::Metrics,
    /// Ends the process when the actor dies.
    pub essential: Essential,
}

/// The database is prepared: commands are taken and outboxes swept from now on.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Begin;

#[derive(Message)]
#[rtype(result = "()")]
struct RoundDone {
    claims: Vec<DocumentKey>,
    aftermath: Aftermath,
}

#[derive(Message)]
#[rtype(result = "()")]
struct RoundDied;

#[derive(Message)]
#[rtype(result = "()")]
struct StartRounds;

#[derive(Message)]
#[rtype(result = "()")]
struct Arrived {
    hand_over: HandOver,
    /// Those that the log refused; `None` where nobody knows what became of them.
    refused: Option<Vec<EventId>>,
}

impl<W: Workspace> RepositoryActor<W> {
    /// An actor that waits for [`Begin`].
    pub fn new(settings: RepositorySettings) -> RepositoryActor<W> {
        let RepositorySettings {
            store,
            collections,
            profile,
            publisher,
            environment,
            metrics,
            essential,
        } = settings;
        let ledger = Rc::new(RefCell::new(OutboxLedger::default()));
        RepositoryActor {
            tools: Tools {
                store,
                profile,
                publisher,
                ledger,
                memory: Rc::default(),
                environment,
                metrics,
            },
            collections,
            prepared: false,
            planner: RoundPlanner::default(),
            rounds: 0,
            rounds_due: false,
            marks: Vec::new(),
            marking: false,
            marks_due: false,
            sweeping: false,
            marked_meanwhile: BTreeSet::new(),
            draining: Vec::new(),
            telling: queries::Telling::default(),
            _essential: essential,
        }
    }
}

impl<W: Workspace> Actor for RepositoryActor<W> {
    type Context = Context<Self>;
}

impl<W: Workspace> Handler<Begin> for RepositoryActor<W> {
    type Result = ();

    fn handle(&mut self, _: Begin, ctx: &mut Context<Self>) {
        if !self.prepared {
            self.prepared = true;
            self.start_rounds(ctx);
            self.sweep(ctx);
            ctx.run_interval(self.tools.profile.sweep_every(), Self::sweep);
            ctx.run_interval(EXPIRE_EVERY, |actor, _| actor.give_up_expired());
        }
    }
}

impl<C: Command> Handler<Execute<C>> for RepositoryActor<C::Workspace> {
    type Result = ResponseFuture<Result<C::Reply, RepositoryError>>;

    fn handle(&mut self, message: Execute<C>, ctx: &mut Context<Self>) -> Self::Result {
        let (asker, answer) = oneshot::channel();
        if !self.prepared && message.deadline.is_some() {
            return Box::pin(async { Err(RepositoryError::Unavailable("waiting for the database".into())) });
        }
        let (pending, accepted) = Pending::new(message, asker, self.tools.profile);
        self.planner.push(Box::new(pending));
        if let Some(accepted) = accepted {
            let _ = accepted.send(());
        }
        // Behind what has arrived with it: commands come in handfuls, as records and requests do.
        if !std::mem::replace(&mut self.rounds_due, true) {
            ctx.notify(StartRounds);
        }
        Box::pin(async move { answer.await.unwrap_or(Err(RepositoryError::Stopping)) })
    }
}

impl<W: Workspace> Handler<RoundDone> for RepositoryActor<W> {
    type Result = ();

    fn handle(&mut self, RoundDone { claims, aftermath }: RoundDone, ctx: &mut Context<Self>) {
        self.rounds -= 1;
        self.planner.release(&claims);
        self.start_rounds(ctx);
        self.follow_up(aftermath, ctx);
        self.answer_drain();
    }
}

impl<W: Workspace> Handler<StartRounds> for RepositoryActor<W> {
    type Result = ();

    fn handle(&mut self, _: StartRounds, ctx: &mut Context<Self>) {
        self.rounds_due = false;
        self.start_rounds(ctx);
    }
}

impl<W: Workspace> Handler<RoundDied> for RepositoryActor<W> {
    type Result = ();

    fn handle(&mut self, _: RoundDied, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

impl<W: Workspace> Handler<Arrived> for RepositoryActor<W> {
    type Result = ();

    fn handle(&mut self, Arrived { hand_over, refused }: Arrived, ctx: &mut Context<Self>) {
        {
            let mut ledger = self.tools.ledger.borrow_mut();
            for (key, events) in &hand_over.events {
                let lost = |id: &EventId| refused.as_ref().is_none_or(|refused| refused.contains(id));
                let (lost, arrived): (Vec<_>, Vec<_>) = events.iter().copied().partition(lost);
                self.marks.extend(ledger.confirmed(*key, &arrived));
                ledger.lost(*key, &lost);
            }
        }
        self.mark_soon(ctx);
        self.answer_drain();
    }
}

impl<W: Workspace> Handler<Check> for RepositoryActor<W> {
    type Result = ResponseFuture<Result<(), String>>;

    fn handle(&mut self, _: Check, _: &mut Context<Self>) -> Self::Result {
        let (store, prepared) = (self.tools.store.clone(), self.prepared);
        Box::pin(async move {
            store.check().await.map_err(|error| error.to_string())?;
            if prepared {
                Ok(())
            } else {
                Err("its collections and indexes are not checked yet".into())
            }
        })
    }
}

impl<W: Workspace> Handler<Drain> for RepositoryActor<W> {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Drain, ctx: &mut Context<Self>) -> Self::Result {
        let (told, drained) = oneshot::channel();
        self.draining.push(told);
        self.set_marks(ctx);
        self.answer_drain();
        Box::pin(async move {
            let _ = drained.await;
        })
    }
}

impl<W: Workspace> RepositoryActor<W> {
    fn start_rounds(&mut self, ctx: &mut Context<Self>) {
        let profile = self.tools.profile;
        while self.prepared
            && self.rounds < profile.rounds_in_flight()
            && (self.rounds == 0 || self.planner.len() >= profile.further_round_from())
        {
            let too_busy = |task: Box<dyn Task<W>>| {
                task.fail(RepositoryError::Unavailable("the service is too busy".into()));
            };
            let tasks = self
                .planner
                .next_round(profile.commands_in_a_round(), Instant::now(), too_busy);
            if tasks.is_empty() {
                return;
            }
            let claims: Vec<_> = tasks.iter().flat_map(|task| task.claims()).copied().collect();
            self.rounds += 1;
            let this = ctx.address();
            // Not spawned into the context: a stopping actor would drop it in the middle of a commit.
            let round = actix::spawn(round::run(self.tools.clone(), tasks));
            actix::spawn(async move {
                match round.await {
                    Ok(aftermath) => this.do_send(RoundDone { claims, aftermath }),
                    // A panic: what the round held is held for ever, so the service starts anew.
                    Err(_) => this.do_send(RoundDied),
                }
            });
        }
    }

    /// Fails the commands that waited too long to be begun.
    fn give_up_expired(&mut self) {
        self.planner.expire(Instant::now(), |task| {
            task.fail(RepositoryError::Unavailable(
                "the database did not answer in time".into(),
            ));
        });
    }

    fn follow_up(&mut self, aftermath: Aftermath, ctx: &mut Context<Self>) {
        for mut hand_over in aftermath.handed_over {
            let this = ctx.address();
            actix::spawn(async move {
                let refused = if mutants::is_active(Mutant::MarkBeforeConfirmed) {
                    Some(Vec::new())
                } else {
                    (&mut hand_over.confirmed).await.ok()
                };
                if mutants::is_active(Mutant::LosePermit) {
                    std::mem::forget(std::mem::take(&mut hand_over.permits));
                }
                hand_over.permits.clear();
                this.do_send(Arrived { hand_over, refused });
            });
        }
        self.marks.extend(aftermath.marks);
        self.mark_soon(ctx);
    }

    /// Drained: nothing waits, nothing is in flight, every event has arrived and is marked.
    fn answer_drain(&mut self) {
        let quiet = self.rounds == 0 && !self.marking && self.tools.ledger.borrow().is_empty();
        if quiet && (self.planner.is_empty() || !self.prepared) {
            self.draining.drain(..).for_each(|told| {
                let _ = told.send(());
            });
        }
    }
}
