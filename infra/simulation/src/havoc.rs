//! What goes wrong by itself, while the services do nothing but run.

use std::{rc::Rc, time::Duration};

use crate::{
    faults::Fault,
    instance::{Victim, World},
    log::SESSION,
    process::Mode,
    store::Database,
    wire::pause,
};

/// Everything that something can be done to.
pub struct Havoc {
    /// What is shared.
    pub world: Rc<World>,
    /// The databases.
    pub databases: Vec<std::sync::Arc<Database>>,
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
            let victim = chance.pick(&self.victims).clone();
            self.strike(&victim).await;
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

    /// Nothing goes wrong any more, and what went wrong is over.
    pub fn heal(&self) {
        self.say(|| "everything heals".into());
        self.world.wire.faults.heal();
        self.world.broker.outage.end();
        self.databases.iter().for_each(|database| database.outage.end());
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

/// How long things go wrong in a seed, at least and at most.
pub const HAVOC_LASTS: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(20));
