//! An instance of a service: started, killed, frozen, told to stop, and started again on what is
//! durable.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::LocalBoxFuture;
use shared::{
    actors::essential::Essentials,
    admission::Admission,
    environment::Environment,
    http::parked::ParkedApi,
    service::{Actors, Ports, Service},
    settings::ServiceSettings,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::LocalSet,
    time::Instant,
};

use crate::{
    chance::Chance,
    clock::Clock,
    faults::Kind,
    invariants::{Invariant, Violation},
    log::{Broker, LogPort, Membership},
    process::Process,
    seen::Observer,
    store::{Database, StorePort},
    wire::{Wire, pause},
};

/// How long a client waits for an answer.
const CLIENT_PATIENCE: Duration = Duration::from_secs(6);

/// What all instances of all services share.
pub struct World {
    /// How calls travel.
    pub wire: Arc<Wire>,
    /// The log.
    pub broker: Arc<Broker>,
    /// What became durable.
    pub observer: Arc<Observer>,
    /// What sort of seed it is.
    pub kind: Kind,
    /// Operators clear up from now on, until nothing parked is left.
    pub clears_up: Cell<bool>,
    /// Chance of whoever has none of its own.
    pub chance: Chance,
    /// When the seed began.
    pub begin: Instant,
}

/// What the handlers of requests work with.
pub struct Api<S: Service> {
    /// Whom to ask.
    pub endpoints: S::Endpoints,
    /// What operators ask.
    pub parked: ParkedApi,
}

impl<S: Service> Clone for Api<S> {
    fn clone(&self) -> Self {
        Api {
            parked: self.parked.clone(),
            endpoints: self.endpoints.clone(),
        }
    }
}

enum Job<S: Service> {
    Handle(Box<dyn FnOnce(Api<S>) -> LocalBoxFuture<'static, ()>>),
    Stop,
}

/// One of the instances of a service.
pub struct Instance<S: Service> {
    name: String,
    settings: ServiceSettings,
    own: S::Settings,
    database: Arc<Database>,
    world: Rc<World>,
    incarnations: Cell<u32>,
    live: RefCell<Option<Live<S>>>,
}

struct Live<S: Service> {
    process: Arc<Process>,
    clock: Clock,
    log: Arc<LogPort>,
    jobs: mpsc::UnboundedSender<Job<S>>,
    admission: Admission,
    /// That an actor ends is no surprise any more.
    may_end: Arc<AtomicBool>,
}

/// What havoc is wrought on, whatever its service.
pub trait Victim {
    /// The process of now, if there is one.
    fn process(&self) -> Option<Arc<Process>>;
    /// Its membership, once it has subscribed.
    fn membership(&self) -> Option<Arc<Membership>>;
    /// Sets its clock forward or back.
    fn jump(&self, millis: i64);
    /// Tells it to stop; it is started again.
    fn stop(&self);
    /// Its consumer fails for good, which ends the process.
    fn fail_consumer(&self);
}

impl<S: Service> Instance<S> {
    /// An instance that is started by [`Instance::run`].
    pub fn new(
        number: usize,
        (settings, own): (ServiceSettings, S::Settings),
        database: Arc<Database>,
        world: Rc<World>,
    ) -> Rc<Self> {
        Rc::new(Instance {
            name: format!("{}-{number}", S::NAME),
            settings,
            own,
            database,
            world,
            incarnations: Cell::new(0),
            live: RefCell::new(None),
        })
    }

    /// Starts it, and again each time that it is dead.
    pub async fn run(self: Rc<Self>) {
        loop {
            self.start().await;
            self.live.take();
            let longest = if self.world.wire.faults.is_active() {
                3_000
            } else {
                300
            };
            pause(self.world.chance.millis(0, longest)).await;
        }
    }

    fn start(&self) -> impl Future<Output = ()> + use<S> {
        self.incarnations.set(self.incarnations.get() + 1);
        let process = Process::new(format!("{}.{}", self.name, self.incarnations.get()));
        let World {
            wire,
            broker,
            observer,
            chance,
            begin,
            kind,
            ..
        } = &*self.world;
        wire.timeline.add(process.name(), || "starts".into());
        let wrong_by = match kind {
            Kind::Calm => 0,
            Kind::Usual | Kind::LostTail => i64::try_from(chance.below(4_000)).unwrap_or(0) - 2_000,
        };
        let clock = Clock::new(*begin, wrong_by, chance.fork());
        let log = Arc::new(LogPort::new(broker.clone(), process.clone()));
        let ports = Ports {
            log: log.clone(),
            store: Arc::new(StorePort::new(
                self.database.clone(),
                process.clone(),
                wire.clone(),
            )),
        };
        let admission = Admission::new(self.settings.max_in_flight, self.settings.request_timeout);
        let may_end = Arc::new(AtomicBool::new(false));
        let (jobs, inbox) = mpsc::unbounded_channel();
        let tasks = LocalSet::new();
        tasks.spawn_local(serve::<S>(Begin {
            settings: self.settings.clone(),
            own: self.own.clone(),
            ports,
            environment: Environment::of(clock.clone()),
            admission: admission.clone(),
            process: process.clone(),
            may_end: may_end.clone(),
            observer: observer.clone(),
            inbox,
        }));
        self.live.replace(Some(Live {
            process: process.clone(),
            clock,
            log,
            jobs,
            admission,
            may_end,
        }));
        process.drive(tasks)
    }

    /// Has a request handled by this instance, as its HTTP side would. `None`: no connection, or no
    /// answer in time, or the connection broke; what was asked may have happened.
    pub async fn ask<T: 'static>(
        &self,
        handler: impl FnOnce(Api<S>) -> LocalBoxFuture<'static, T> + 'static,
    ) -> Option<T> {
        let (tell, told) = oneshot::channel();
        let process = {
            let live = self.live.borrow();
            let live = live.as_ref()?;
            let job = Job::Handle(Box::new(move |api| {
                Box::pin(async move {
                    let answer = handler(api).await;
                    // The client may have hung up.
                    let _ = tell.send(answer);
                })
            }));
            live.jobs.send(job).ok()?;
            live.process.clone()
        };
        let answer = tokio::time::timeout(CLIENT_PATIENCE, told).await.ok()?.ok()?;
        process.is_alive().then_some(answer)
    }

    /// Its name, and how many permits are not given back.
    pub fn permits(&self) -> (String, usize) {
        let live = self.live.borrow();
        let free = live.as_ref().map(|live| live.admission.free());
        let missing = free.map_or(0, |free| self.settings.max_in_flight - free);
        (self.name.clone(), missing)
    }
}

impl<S: Service> Victim for Instance<S> {
    fn process(&self) -> Option<Arc<Process>> {
        self.live.borrow().as_ref().map(|live| live.process.clone())
    }

    fn membership(&self) -> Option<Arc<Membership>> {
        self.live.borrow().as_ref().and_then(|live| live.log.membership())
    }

    fn jump(&self, millis: i64) {
        self.live.borrow().iter().for_each(|live| live.clock.jump(millis));
    }

    fn stop(&self) {
        self.live.borrow().iter().for_each(|live| {
            // Where it is dead already, nobody has to be told.
            let _ = live.jobs.send(Job::Stop);
        });
    }

    fn fail_consumer(&self) {
        if let Some(live) = &*self.live.borrow()
            && let Some(member) = live.log.membership()
        {
            live.may_end.store(true, Ordering::Relaxed);
            self.world.broker.fail_consumer(&member);
        }
    }
}

struct Begin<S: Service> {
    settings: ServiceSettings,
    own: S::Settings,
    ports: Ports,
    environment: Environment,
    admission: Admission,
    process: Arc<Process>,
    may_end: Arc<AtomicBool>,
    observer: Arc<Observer>,
    inbox: mpsc::UnboundedReceiver<Job<S>>,
}

/// What a process does: starts the actors, handles requests, and ends when one of the actors does.
async fn serve<S: Service>(begin: Begin<S>) {
    let Begin {
        settings,
        own,
        ports,
        environment,
        admission,
        process,
        may_end,
        observer,
        mut inbox,
    } = begin;
    let (essentials, mut deaths) = Essentials::new();
    let actors = Actors::<S>::start((&settings, &own), admission, ports, environment, essentials);
    let (ended, ends) = (process.clone(), may_end.clone());
    actix::spawn(async move {
        if let Some(actor) = deaths.recv().await
            && ended.is_alive()
        {
            if !ends.load(Ordering::Relaxed) {
                let found = format!("the {actor} of {} is dead", ended.name());
                observer.violated(Violation::new(Invariant::TakenComesBack, "no actor dies", found));
            }
            ended.kill();
        }
    });
    let api = Api::<S> {
        parked: actors.parked_api(&settings),
        endpoints: actors.endpoints().clone(),
    };
    while let Some(job) = inbox.recv().await {
        match job {
            Job::Handle(handler) => drop(actix::spawn(handler(api.clone()))),
            Job::Stop => break,
        }
    }
    may_end.store(true, Ordering::Relaxed);
    // Where it takes too long, what is left goes on at the next start.
    let _ = tokio::time::timeout(settings.shutdown_timeout, actors.drain()).await;
    process.kill();
}
