//! The actor that alone owns the database and commits in groups.
//!
//! Commands that arrive while a commit is under way wait together; the next round takes all of
//! them. No timer: an idle system commits at once, a busy one in batches. At most two
//! rounds at a time, never two over the same document, so commands on a document are decided in the
//! order in which they arrived.
//!
//! Asked by HTTP endpoints and event handlers; asks the [`PublisherActor`](super::publisher). When
//! the database is away, commands wait in their order; those from requests give up at their deadline.

use std::{cell::RefCell, collections::VecDeque, rc::Rc, sync::Arc, time::Duration};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message};
use tokio::{sync::oneshot, time::Instant};

use crate::{
    actors::{
        Reply,
        essential::{Check, Drain, Essential},
        publisher::{Fate, Settlement},
    },
    document_store::{CollectionSettings, Document, DocumentKey, DocumentStore, StoreError},
    events::EventId,
    logging::NowAndThen,
    parking::ParkedRecord,
};

mod command;
mod groups;
mod held;
mod marks;
mod outbox_ledger;
mod pace;
mod parking;
pub mod planner;
mod queries;
mod round;
mod sweep;
mod workspace;

pub use command::{Command, Execute, Turn};
use command::{Pending, Task};
use groups::Group;
use outbox_ledger::OutboxLedger;
pub use parking::{ChangeJob, ChangeParked, Changed, ListOpen, OpenPage, OpenRecord, Stop};
use planner::RoundPlanner;
pub use queries::{Count, Find, Found, List};
use round::{Aftermath, Ended, Tools};
use sweep::SweptTo;
pub use workspace::{Change, Copies, CopiesOf, Parking, Workspace, WorkspaceOf};

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
    /// A document cannot be read, or will never be taken; somebody has to act.
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
            StoreError::Unfit(_) | StoreError::Rejected(_) => RepositoryError::Unfit(text),
        }
    }
}

/// The actor. `W` are the service's documents.
pub struct RepositoryActor<W: Workspace> {
    tools: Tools,
    /// Those with outboxes.
    collections: Vec<CollectionSettings>,
    /// Set by [`Begin`].
    prepared: bool,
    planner: RoundPlanner<Box<dyn Task<W>>>,
    rounds: usize,
    /// Left over by rounds, and next. They hold their documents.
    left: VecDeque<Vec<Group<W>>>,
    /// So many of them rest because they keep meeting conflicts.
    resting: usize,
    /// Rounds are started once what has arrived is taken in.
    rounds_due: bool,
    /// Events to mark.
    to_mark: Vec<EventId>,
    /// They are being set.
    marking: bool,
    /// They will be, soon.
    marks_due: bool,
    sweeping: bool,
    swept_to: SweptTo,
    looking_at_held: bool,
    /// So many looks at what is held have found nothing new.
    looks_in_vain: u32,
    /// Says that marks are not set, and that the sweep found what it cannot read.
    unmarked: NowAndThen,
    unreadable: NowAndThen,
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
struct RoundDone<W: Workspace> {
    documents: Vec<DocumentKey>,
    ended: Ended<W>,
    /// Groups that waited for this one.
    behind: Vec<Group<W>>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct RoundDied;

#[derive(Message)]
#[rtype(result = "()")]
struct StartRounds;

#[derive(Message)]
#[rtype(result = "()")]
struct Arrived(Vec<Settlement>);

/// Nobody will tell what became of these.
#[derive(Message)]
#[rtype(result = "()")]
struct Lost(Vec<EventId>);

impl<W: Workspace> RepositoryActor<W> {
    /// An actor that waits for [`Begin`].
    pub fn new(settings: RepositorySettings) -> RepositoryActor<W> {
        let RepositorySettings {
            store,
            collections,
            publisher,
            environment,
            metrics,
            essential,
        } = settings;
        let ledger = Rc::new(RefCell::new(OutboxLedger::default()));
        RepositoryActor {
            tools: Tools {
                store,
                publisher,
                ledger,
                held: Rc::default(),
                is_failing: Rc::default(),
                environment,
                metrics,
            },
            collections: [collections, &[ParkedRecord::COLLECTION]].concat(),
            prepared: false,
            planner: RoundPlanner::default(),
            rounds: 0,
            left: VecDeque::new(),
            resting: 0,
            rounds_due: false,
            to_mark: Vec::new(),
            marking: false,
            marks_due: false,
            sweeping: false,
            swept_to: SweptTo::new(),
            looking_at_held: false,
            looks_in_vain: 0,
            unmarked: NowAndThen::default(),
            unreadable: NowAndThen::default(),
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
            ctx.run_interval(pace::SWEEP_EVERY, Self::sweep);
            ctx.run_interval(EXPIRE_EVERY, |actor, _| actor.give_up_expired());
        }
    }
}

impl<C: Command> Handler<Execute<C>> for RepositoryActor<C::Workspace> {
    type Result = Reply<Result<C::Reply, RepositoryError>>;

    fn handle(&mut self, message: Execute<C>, ctx: &mut Context<Self>) -> Self::Result {
        let (asker, answer) = oneshot::channel();
        if !self.prepared && message.deadline.is_some() {
            return Reply::by(async { Err(RepositoryError::Unavailable("waiting for the database".into())) });
        }
        let (pending, accepted) = Pending::new(message, asker);
        self.planner.push(Box::new(pending));
        if let Some(accepted) = accepted {
            let _ = accepted.send(());
        }
        // Behind what has arrived with it: commands come in handfuls, as records and requests do.
        if !std::mem::replace(&mut self.rounds_due, true) {
            ctx.notify(StartRounds);
        }
        Reply::by(async move { answer.await.unwrap_or(Err(RepositoryError::Stopping)) })
    }
}

impl<W: Workspace> Handler<RoundDone<W>> for RepositoryActor<W> {
    type Result = ();

    fn handle(&mut self, done: RoundDone<W>, ctx: &mut Context<Self>) {
        let RoundDone {
            documents,
            ended,
            behind,
        } = done;
        let Ended { aftermath, left } = ended;
        self.rounds -= 1;
        self.planner.release(&documents);
        let left: Vec<_> = left.into_iter().chain(behind).collect();
        self.planner.hold(documents_of(&left));
        self.go_on_with(left, ctx);
        self.start_rounds(ctx);
        self.follow_up(aftermath, ctx);
        self.look_at_held_soon(ctx);
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

    fn handle(&mut self, Arrived(settled): Arrived, ctx: &mut Context<Self>) {
        {
            let mut ledger = self.tools.ledger.borrow_mut();
            self.to_mark.extend(ledger.settled(&settled));
            if settled.iter().any(|settlement| settlement.fate == Fate::Refused) {
                self.tools.metrics.refused(ledger.refused());
            }
        }
        self.mark_soon(ctx);
        self.answer_drain();
    }
}

impl<W: Workspace> Handler<Lost> for RepositoryActor<W> {
    type Result = ();

    fn handle(&mut self, Lost(events): Lost, _: &mut Context<Self>) {
        self.tools.ledger.borrow_mut().lost(&events);
        self.answer_drain();
    }
}

impl<W: Workspace> Handler<Check> for RepositoryActor<W> {
    type Result = Reply<Result<(), String>>;

    fn handle(&mut self, _: Check, _: &mut Context<Self>) -> Self::Result {
        let (store, prepared) = (self.tools.store.clone(), self.prepared);
        Reply::by(async move {
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
    type Result = Reply<()>;

    fn handle(&mut self, _: Drain, ctx: &mut Context<Self>) -> Self::Result {
        let (told, drained) = oneshot::channel();
        self.draining.push(told);
        self.set_marks(ctx);
        self.answer_drain();
        Reply::by(async move {
            let _ = drained.await;
        })
    }
}

impl<W: Workspace> RepositoryActor<W> {
    fn start_rounds(&mut self, ctx: &mut Context<Self>) {
        while self.prepared && self.rounds < pace::ROUNDS_IN_FLIGHT {
            if let Some(groups) = self.left.pop_front() {
                self.start_round(groups, ctx);
                continue;
            }
            if self.rounds > 0 && self.planner.len() < pace::SECOND_ROUND_FROM {
                return;
            }
            let too_busy = |task: Box<dyn Task<W>>| {
                task.fail(RepositoryError::Unavailable("the service is too busy".into()));
            };
            let tasks = self.planner.next_round(
                pace::COMMANDS_IN_A_ROUND,
                pace::BYTES_IN_A_ROUND,
                Instant::now(),
                too_busy,
            );
            if tasks.is_empty() {
                return;
            }
            self.start_round(vec![Group::new(tasks)], ctx);
        }
    }

    /// A round of the first of these groups; the others follow it.
    fn start_round(&mut self, mut groups: Vec<Group<W>>, ctx: &mut Context<Self>) {
        let documents = documents_of(&groups);
        let behind = groups.split_off(1.min(groups.len()));
        let Some(group) = groups.pop() else {
            return;
        };
        self.rounds += 1;
        let this = ctx.address();
        // Not spawned into the context: a stopping actor would drop it in the middle of a commit.
        let round = actix::spawn(round::run(self.tools.clone(), group));
        actix::spawn(async move {
            match round.await {
                Ok(ended) => this.do_send(RoundDone {
                    documents,
                    ended,
                    behind,
                }),
                // A panic: what the round held is held for ever, so the service starts anew.
                Err(_) => this.do_send(RoundDied),
            }
        });
    }

    /// What a round has left over goes on as rounds of its own. What shares no claim with the rest
    /// goes by itself; the rest one after the other.
    fn go_on_with(&mut self, left: Vec<Group<W>>, ctx: &mut Context<Self>) {
        for groups in groups::apart(left) {
            match groups.first().and_then(|group| group.rest(&self.tools)) {
                None => self.left.push_back(groups),
                Some(rest) => {
                    self.resting += 1;
                    ctx.run_later(rest, |actor, ctx| {
                        actor.resting -= 1;
                        actor.left.push_back(groups);
                        actor.start_rounds(ctx);
                    });
                }
            }
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
                let mut open = hand_over.events.len();
                while let Some(settled) = hand_over.settled.recv().await {
                    open -= settled.len();
                    this.do_send(Arrived(settled));
                }
                if open > 0 {
                    this.do_send(Lost(hand_over.events));
                }
            });
        }
    }

    /// Drained: nothing waits, nothing is in flight, every event has arrived and is marked.
    fn answer_drain(&mut self) {
        if self.draining.is_empty() {
            return;
        }
        let rounds = self.rounds + self.left.len() + self.resting;
        let quiet = rounds == 0 && !self.marking && self.tools.ledger.borrow().is_quiet();
        if quiet && (self.planner.is_empty() || !self.prepared) {
            self.draining.drain(..).for_each(|told| {
                let _ = told.send(());
            });
        }
    }
}

fn documents_of<W: Workspace>(groups: &[Group<W>]) -> Vec<DocumentKey> {
    let tasks = groups.iter().flat_map(|group| &group.tasks);
    tasks.flat_map(|task| task.documents()).copied().collect()
}
