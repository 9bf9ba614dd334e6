//! What goes wrong by itself, while the services do nothing but run.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use contracts::{CustomerCreated, OrderCreated, OrderShipped, OrderValidated, TOPIC};
use shared::events::Event;
use tokio::time::Instant;

use crate::{
    faults::Fault,
    instance::{Victim, World},
    log::{Refusal, SESSION, Unfit},
    process::Mode,
    store::{Database, SPOILT_FOR, Spoilt},
    wire::pause,
};

/// A document that nobody can read, and where it stands.
pub type SpoiltIn = (Arc<Database>, Spoilt);

/// Everything that something can be done to.
pub struct Havoc {
    /// What is shared.
    pub world: Rc<World>,
    /// The databases.
    pub databases: Vec<Arc<Database>>,
    /// Documents that nobody can read now. Each is mended once: later its right value is another one.
    pub spoilt: RefCell<Vec<Rc<SpoiltIn>>>,
    /// The instances.
    pub victims: Vec<Rc<dyn Victim>>,
    /// The consumer groups.
    pub groups: Vec<&'static str>,
}

impl Havoc {
    /// Goes on until it is healed.
    pub async fn run(self: Rc<Self>) {
        let faults = &self.world.wire.faults;
        let chance = faults.chance();
        while faults.is_active() {
            pause(chance.millis(200, 1_800)).await;
            if faults.strikes(Fault::StoreOutage) {
                let duration = chance.millis(100, 5_000);
                self.say(|| format!("a database is away for {duration:?}"));
                chance.pick(&self.databases).outage.begin(duration);
            }
            if faults.strikes(Fault::LogOutage) {
                let duration = chance.millis(100, 5_000);
                self.say(|| format!("the log is away for {duration:?}"));
                self.world.broker.outage.begin(duration);
            }
            if faults.strikes(Fault::Rebalance) {
                let group: &&str = chance.pick(&self.groups);
                self.world.broker.shuffle(group, chance);
            }
            self.trouble_the_log();
            self.edit_documents();
            let victim = chance.pick(&self.victims).clone();
            self.strike(&victim).await;
        }
    }

    fn trouble_the_log(&self) {
        let (faults, broker) = (&self.world.wire.faults, &self.world.broker);
        let chance = faults.chance();
        let places = broker.partitions(TOPIC);
        if places.is_empty() {
            return;
        }
        if places.len() < MOST_PARTITIONS && faults.strikes(Fault::PartitionAdded) {
            let added = broker.add_partition(TOPIC, chance.millis(0, 3_000));
            self.say(|| format!("the topic gets partition {added:?}"));
            self.world.observer.with(|seen| seen.partitions_added = true);
        }
        if faults.strikes(Fault::NoLeader) {
            let place = chance.pick(&places);
            // Half of them for longer than everything else.
            let duration = *chance.pick(&[chance.millis(500, 8_000), FOR_LONG]);
            self.say(|| format!("partition {} has no leader for {duration:?}", place.1));
            broker.depose(place, duration);
        }
        if faults.strikes(Fault::RecordsRefused) {
            let names = [
                OrderCreated::NAME,
                OrderValidated::NAME,
                OrderShipped::NAME,
                CustomerCreated::NAME,
            ];
            let what = match chance.below(3) {
                0 => Unfit::DeadLetters,
                _ => Unfit::Named(chance.pick::<&str>(&names)),
            };
            let duration = chance.millis(500, 8_000);
            self.say(|| format!("the log refuses {what:?} for {duration:?}"));
            broker.refuse(Refusal {
                what,
                until: Some(Instant::now() + duration),
            });
        }
        if faults.strikes(Fault::TailLost) {
            let place = chance.pick(&places);
            if let Some(end) = broker.lose_tail(place, 1 + chance.below(8)) {
                self.say(|| format!("partition {} loses its tail and ends at {end}", place.1));
                self.world.observer.with(|seen| {
                    let lost = seen.lost_from.entry(place.1).or_insert(end);
                    *lost = end.min(*lost);
                });
            }
            if chance.strikes(0.5) {
                broker.wake(place);
            }
        }
    }

    fn edit_documents(self: &Rc<Self>) {
        let faults = &self.world.wire.faults;
        let chance = faults.chance();
        let database = chance.pick(&self.databases);
        if faults.strikes(Fault::FieldAdded)
            && let Some(added) = database.add_field(chance)
        {
            self.say(|| format!("somebody adds {added}"));
        }
        if faults.strikes(Fault::NumbersRewritten)
            && let Some(rewritten) = database.rewrite_numbers(chance)
        {
            self.say(|| format!("somebody saves {rewritten} with other numbers"));
        }
        if faults.strikes(Fault::DocumentSpoiled)
            && let Some(spoilt) = database.spoil(chance)
        {
            let most = u64::try_from(SPOILT_FOR.as_millis()).unwrap_or(0);
            let duration = chance.millis(500, most);
            self.say(|| format!("somebody spoils {} for {duration:?}", spoilt.place()));
            self.world.observer.with(|seen| seen.spoilt.insert(spoilt.id()));
            let spoilt = Rc::new((database.clone(), spoilt));
            self.spoilt.borrow_mut().push(spoilt.clone());
            let havoc = self.clone();
            actix::spawn(async move {
                pause(duration).await;
                havoc.mend(&spoilt);
            });
        }
    }

    fn mend(&self, spoilt: &Rc<SpoiltIn>) {
        let mut open = self.spoilt.borrow_mut();
        if let Some(at) = open.iter().position(|one| Rc::ptr_eq(one, spoilt)) {
            let (database, spoilt) = &*open.swap_remove(at);
            self.say(|| format!("somebody mends {}", spoilt.place()));
            database.mend(spoilt);
        }
    }

    async fn strike(&self, victim: &Rc<dyn Victim>) {
        let faults = &self.world.wire.faults;
        let chance = faults.chance();
        let Some(process) = victim.process() else {
            return;
        };
        if faults.strikes(Fault::ClockJump) {
            let millis = i64::try_from(chance.below(7_200_000)).unwrap_or(0) - 3_600_000;
            self.say(|| format!("the clock of {} jumps by {millis} ms", process.name()));
            victim.jump(millis);
        }
        if faults.strikes(Fault::GracefulRestart) {
            self.say(|| format!("{} is told to stop", process.name()));
            victim.stop();
        }
        if faults.strikes(Fault::ConsumerFailed) {
            self.say(|| format!("the consumer of {} fails", process.name()));
            victim.fail_consumer();
        }
        if faults.strikes(Fault::Freeze) && process.freeze() {
            let duration = chance.millis(100, 5_000);
            self.say(|| format!("{} stands still for {duration:?}", process.name()));
            actix::spawn(async move {
                pause(duration).await;
                process.thaw();
            });
        } else if faults.strikes(Fault::Zombie) && process.freeze() {
            let duration = chance.millis(100, 4_000);
            self.say(|| format!("{} stands still for {:?}", process.name(), SESSION + duration));
            let (broker, member) = (self.world.broker.clone(), victim.membership());
            actix::spawn(async move {
                pause(SESSION).await;
                member.into_iter().for_each(|member| broker.expel(member));
                pause(duration).await;
                process.thaw();
            });
        }
    }

    /// Nothing goes wrong any more, and what went wrong is over; but a partition that has lost its
    /// leader for long has none yet.
    pub fn heal(&self) {
        self.say(|| "everything heals".into());
        self.world.wire.faults.heal();
        self.world.broker.outage.end();
        self.world.broker.accept();
        self.databases.iter().for_each(|database| database.outage.end());
        for (database, spoilt) in self.spoilt.take().iter().map(|spoilt| &**spoilt) {
            database.mend(spoilt);
        }
        for process in self.victims.iter().filter_map(|victim| victim.process()) {
            if process.mode() == Mode::Frozen {
                process.thaw();
            }
        }
    }

    fn say(&self, what: impl FnOnce() -> String) {
        self.world.wire.timeline.add("HAVOC", what);
    }
}

/// Partitions that a topic gets at most.
const MOST_PARTITIONS: usize = 5;
/// How long a partition has no leader that has none for long: until one is elected.
const FOR_LONG: Duration = Duration::from_secs(3_600);

/// How long things go wrong in a seed, at least and at most.
pub const HAVOC_LASTS: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(20));
