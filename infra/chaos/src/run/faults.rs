//! Carrying out the schedule, and bringing everything back at its end.

use std::{
    collections::BTreeMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::Context;
use engines::Engine;
use fleet::Service;
use rustix::process::Signal;
use serde::Serialize;

use super::{
    client::Client,
    cluster::{self, Role},
    schedule::{Fault, INSTANCES, Planned, Target},
    world::{World, count, lock},
};

/// A service has 20 s to finish (`SHUTDOWN_TIMEOUT`); beyond this it hangs.
const TERMINATE_WITHIN: Duration = Duration::from_secs(25);
/// An engine that was in trouble within this time excuses exit code 75.
const EXCUSED: Duration = Duration::from_secs(30);
/// All is to be ready again within this time of the last fault.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A fault that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Struck {
    /// Its kind.
    pub kind: &'static str,
    /// What was struck.
    pub target: String,
    /// When, in seconds since the load began.
    pub from: f64,
    /// When what was struck was started again, or went on.
    pub until: f64,
}

/// Carries out the schedule, each fault in a thread of its own; returns when the last is over. Where
/// coming back takes longer than the schedule thought, the next fault of that target waits.
pub fn carry_out(world: &World, planned: &[Planned]) -> Vec<Struck> {
    let struck = Mutex::new(Vec::new());
    let mut turns: BTreeMap<String, Mutex<()>> = BTreeMap::new();
    for one in planned {
        turns.entry(one.target.place().to_string()).or_default();
    }
    std::thread::scope(|scope| {
        for one in planned {
            let wait = (world.begin + one.at).saturating_duration_since(Instant::now());
            if !world.sleep(wait) {
                break;
            }
            let (struck, turn) = (&struck, &turns[&one.target.place().to_string()]);
            scope.spawn(move || {
                let _turn = lock(turn);
                count(&world.counts.faults);
                let from = world.begin.elapsed().as_secs_f64();
                if let Err(error) = strike(world, one) {
                    world.unexpected(format!("{one}: {error:#}"));
                }
                lock(struck).push(Struck {
                    kind: one.fault.kind(),
                    target: one.target.to_string(),
                    from,
                    until: world.begin.elapsed().as_secs_f64(),
                });
            });
        }
    });
    struck.into_inner().unwrap_or_default()
}

fn strike(world: &World, planned: &Planned) -> anyhow::Result<()> {
    match planned.target {
        Target::Engine(engine) => strike_engine(world, engine, planned.fault),
        Target::Node(role) => strike_node(world, role, planned.fault),
        Target::Instance(service, number) => strike_instance(world, service, number, planned.fault),
    }
}

/// Holds the lock only for a moment: another engine is struck meanwhile.
fn with_engines(world: &World, act: &dyn Fn(&mut engines::Engines)) {
    if let Some(engines) = &mut *lock(&world.engines) {
        act(engines);
    }
}

fn strike_engine(world: &World, engine: Engine, fault: Fault) -> anyhow::Result<()> {
    let with = |act: &dyn Fn(&mut engines::Engines)| with_engines(world, act);
    world.engine_in_trouble();
    match fault {
        Fault::Freeze(time) => {
            with(&|engines| engines.pause(engine));
            world.sleep(time);
            with(&|engines| engines.resume(engine));
        }
        Fault::Kill(time) | Fault::Terminate(time) | Fault::Join(time) => {
            with(&|engines| engines.kill(engine));
            world.sleep(time);
            if let Some(engines) = &mut *lock(&world.engines) {
                engines
                    .restart(engine)
                    .with_context(|| format!("starting {engine} again"))?;
            }
        }
    }
    world.engine_in_trouble();
    Ok(())
}

/// One of several brokers or members: whichever has this role now.
fn strike_node(world: &World, role: Role, fault: Fault) -> anyhow::Result<()> {
    let node = cluster::find(world, role)?;
    let with = |act: &dyn Fn(&mut engines::Engines)| with_engines(world, act);
    world.engine_in_trouble();
    match fault {
        Fault::Freeze(time) => {
            with(&|engines| engines.pause_node(node));
            world.sleep(time);
            with(&|engines| engines.resume_node(node));
        }
        Fault::Kill(time) | Fault::Terminate(time) | Fault::Join(time) => {
            with(&|engines| engines.kill_node(node));
            world.sleep(time);
            if let Some(engines) = &mut *lock(&world.engines) {
                engines
                    .restart_node(node)
                    .with_context(|| format!("starting {node} again"))?;
            }
        }
    }
    world.engine_in_trouble();
    Ok(())
}

fn strike_instance(world: &World, service: Service, number: usize, fault: Fault) -> anyhow::Result<()> {
    match fault {
        Fault::Kill(time) => {
            world.instance(service, number).kill();
            world.sleep(time);
            world.instance(service, number).start()
        }
        Fault::Freeze(time) => {
            world.instance(service, number).signal(Signal::STOP);
            world.sleep(time);
            world.instance(service, number).signal(Signal::CONT);
            Ok(())
        }
        Fault::Terminate(time) => {
            terminate(world, service, number)?;
            world.sleep(time);
            world.instance(service, number).start()
        }
        Fault::Join(time) => {
            // Clients do not know it, so it may be anywhere.
            let mut instance = world.instance(service, number);
            instance.move_away()?;
            instance.start()?;
            drop(instance);
            world.sleep(time);
            terminate(world, service, number)
        }
    }
}

/// SIGTERM: 0, or 75 where an engine was away.
fn terminate(world: &World, service: Service, number: usize) -> anyhow::Result<()> {
    let mut instance = world.instance(service, number);
    let name = instance.name.clone();
    let begin = Instant::now();
    let Some(status) = instance.terminate(TERMINATE_WITHIN)? else {
        return Ok(());
    };
    let excused = world.had_engine_trouble(EXCUSED + begin.elapsed());
    match status.code() {
        Some(0) => {}
        Some(75) if excused => {}
        _ => world.unexpected(format!(
            "{name} ended with {status} after SIGTERM, {:.1} s later",
            begin.elapsed().as_secs_f64()
        )),
    }
    Ok(())
}

/// A process that ended although nobody asked it to is told of and started again, as a supervisor
/// would.
pub fn replace_lost(world: &World) {
    for instance in world.all() {
        // One that is being terminated is held.
        let Ok(mut instance) = instance.try_lock() else {
            continue;
        };
        if let Some(status) = instance.lost() {
            world.unexpected(format!("{} ended by itself: {status}", instance.name));
            if let Err(error) = instance.start() {
                world.unexpected(format!("{error:#}"));
            }
        }
    }
    if let Ok(mut engines) = world.engines.try_lock()
        && let Some(engines) = &mut *engines
        && let Some(node) = engines.lost_node()
    {
        world.unexpected(format!(
            "{node} ended by itself; look at {}",
            engines.log_of(node).display()
        ));
        if let Err(error) = engines.restart_node(node) {
            world.unexpected(error.to_string());
        }
    }
}

/// Waits until all instances are ready; `false` where they are not in time.
pub fn wait_until_ready(world: &World) -> bool {
    let client = Client::with_patience(Duration::from_secs(3));
    let begin = Instant::now();
    for service in Service::ALL {
        for number in 0..INSTANCES {
            let (name, url) = {
                let instance = world.instance(service, number);
                (instance.name.clone(), format!("{}/health/ready", instance.url))
            };
            loop {
                let answer = client.get(&url);
                if matches!(answer, Ok((200, _))) {
                    break;
                }
                if begin.elapsed() > READY_WITHIN {
                    world.unexpected(format!("{name} is not ready after {READY_WITHIN:?}: {answer:?}"));
                    return false;
                }
                replace_lost(world);
                if !world.sleep(Duration::from_millis(50)) {
                    return false;
                }
            }
        }
    }
    true
}
