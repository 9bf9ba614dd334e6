//! One process of an engine: launched, ready, killed, started again.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::docker::Container;
use crate::error::{LogTail, StartError};
use crate::place::Place;
use crate::process::{Launch, Process};
use crate::watchdog::Watchdog;
use crate::{Engine, Node, kafka, mongo, ports};

/// How often a start on ports of our choice is tried: another may take one before we bind it.
const ATTEMPTS: u32 = 3;
/// Far beyond the four seconds that a start takes, for a machine that is busy with something else.
const READY: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// How an engine is had on this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Means {
    Process,
    Docker,
}

/// A second listener of Kafka, whose clients are told another address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proxied {
    /// Where it listens.
    pub(crate) port: u16,
    /// The port that its clients are told.
    pub(crate) advertised: u16,
}

/// How an engine shall be started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    /// Where; 0 for a free port.
    pub(crate) port: u16,
    /// The port of a proxy before it.
    pub(crate) proxy: Option<u16>,
    /// Fast later rather than quick to start.
    pub(crate) for_long: bool,
    /// How many processes.
    pub(crate) nodes: u16,
}

/// One process of an engine that was started.
pub(crate) struct Instance {
    pub(crate) node: Node,
    /// The value of the engine's environment variable.
    pub(crate) address: String,
    pub(crate) log: PathBuf,
    /// Of Kafka: where those listen who are told the proxy's address.
    pub(crate) behind_proxy: Option<u16>,
    port: u16,
    /// The ports of all processes of the engine.
    pub(crate) ports: Vec<u16>,
    running: Running,
}

enum Running {
    Process {
        launch: Launch,
        process: Option<Process>,
    },
    Container {
        container: Container,
        killed: bool,
    },
}

/// Starts all processes of an engine and waits until they are ready.
pub(crate) fn start(
    engine: Engine,
    wish: Wish,
    means: Means,
    place: &Place,
    watchdog: &Arc<Watchdog>,
) -> Result<Vec<Instance>, StartError> {
    let mut number = 1;
    loop {
        match attempt(engine, wish, means, place, watchdog) {
            Err(error) if wish.port == 0 && number < ATTEMPTS && error.is_port_taken() => number += 1,
            outcome => return outcome,
        }
    }
}

fn attempt(
    engine: Engine,
    wish: Wish,
    means: Means,
    place: &Place,
    watchdog: &Arc<Watchdog>,
) -> Result<Vec<Instance>, StartError> {
    let mut ports = vec![ports::choose(engine, wish.port)?];
    while ports.len() < usize::from(wish.nodes) {
        ports.push(ports::choose_other(engine, &ports)?);
    }
    let proxied = match wish.proxy {
        Some(advertised) => Some(Proxied {
            port: ports::choose_other(engine, &ports)?,
            advertised,
        }),
        None => None,
    };
    let nodes = (0..wish.nodes).map(|number| Node { engine, number });
    let logs: Vec<_> = nodes.clone().map(|node| place.log(node, wish.nodes)).collect();
    let running: Vec<Running> = match means {
        Means::Docker => vec![Running::Container {
            container: Container::run(engine, ports[0], proxied, place, watchdog)?,
            killed: false,
        }],
        Means::Process => {
            let launches = match engine {
                Engine::Kafka => kafka::prepare(&ports, (proxied, wish.for_long), place, watchdog)?,
                Engine::Mongo => mongo::prepare(&ports, place, watchdog)?,
            };
            let spawned = launches.into_iter().zip(&logs).map(|(launch, log)| {
                let process = Some(spawn(engine, &launch, log, watchdog)?);
                Ok(Running::Process { launch, process })
            });
            spawned.collect::<Result<_, StartError>>()?
        }
    };
    let address = match engine {
        Engine::Kafka => kafka::addresses(&ports),
        Engine::Mongo => mongo::address(&ports),
    };
    let parts = nodes.zip(logs).zip(running);
    let mut instances: Vec<Instance> = parts
        .map(|((node, log), running)| Instance {
            node,
            address: address.clone(),
            log,
            behind_proxy: proxied.map(|proxied| proxied.port),
            port: ports[usize::from(node.number)],
            ports: ports.clone(),
            running,
        })
        .collect();
    // One after the other: they come up side by side whoever is asked first.
    instances.iter_mut().try_for_each(Instance::wait_until_ready)?;
    Ok(instances)
}

/// Starts processes again, on their ports and data, and waits until they are ready. Those that still
/// run are killed first.
pub(crate) fn restart(instances: &mut [&mut Instance], watchdog: &Arc<Watchdog>) -> Result<(), StartError> {
    for instance in &mut *instances {
        instance.start_again(watchdog)?;
    }
    // The probes bring or use a runtime of their own, which no thread of another may hold.
    thread::scope(|scope| {
        crate::join(scope.spawn(|| {
            instances
                .iter_mut()
                .try_for_each(|instance| instance.wait_until_ready())
        }))
    })
}

impl Instance {
    fn start_again(&mut self, watchdog: &Arc<Watchdog>) -> Result<(), StartError> {
        self.kill();
        match &mut self.running {
            Running::Process { launch, process } => {
                *process = Some(spawn(self.node.engine, launch, &self.log, watchdog)?);
            }
            Running::Container { container, killed } => {
                container.start()?;
                *killed = false;
            }
        }
        Ok(())
    }

    fn wait_until_ready(&mut self) -> Result<(), StartError> {
        let mut ask: Box<dyn FnMut() -> Result<(), String>> = match self.node.engine {
            Engine::Kafka => {
                let mut probe = kafka::Probe::new(self.port);
                Box::new(move || probe.ask())
            }
            Engine::Mongo => {
                let mut probe =
                    mongo::Probe::new(&self.ports, self.node.number).map_err(|source| StartError::Io {
                        doing: "create a runtime".into(),
                        source,
                    })?;
                Box::new(move || probe.ask())
            }
        };
        let begin = Instant::now();
        loop {
            let answer = ask();
            // Asked second: who answered may be another who had the port before.
            if let Some(how) = self.ended() {
                return Err(StartError::Ended {
                    engine: self.node.engine,
                    how,
                    log: self.tail(),
                });
            }
            match answer {
                Ok(()) => return Ok(()),
                Err(last) if begin.elapsed() > READY => {
                    return Err(StartError::NotReady {
                        engine: self.node.engine,
                        after: READY,
                        last,
                        log: self.tail(),
                    });
                }
                Err(_) => thread::sleep(POLL),
            }
        }
    }

    /// How it has ended, in words, if it has.
    fn ended(&mut self) -> Option<String> {
        match &mut self.running {
            Running::Process { process: None, .. } | Running::Container { killed: true, .. } => {
                Some("killed".to_owned())
            }
            Running::Process {
                process: Some(process),
                ..
            } => match process.ended() {
                Ok(status) => status.map(|status| status.to_string()),
                Err(error) => Some(error.to_string()),
            },
            Running::Container { container, .. } => {
                (!container.is_running()).then(|| "container stopped".to_owned())
            }
        }
    }

    /// Whether it has ended although nobody asked it to.
    pub(crate) fn lost(&mut self) -> bool {
        match &self.running {
            Running::Process { process: None, .. } | Running::Container { killed: true, .. } => false,
            Running::Process { .. } | Running::Container { .. } => self.ended().is_some(),
        }
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        match &self.running {
            Running::Process { process, .. } => process.as_ref().map(Process::id),
            Running::Container { .. } => None,
        }
    }

    pub(crate) fn kill(&mut self) {
        match &mut self.running {
            Running::Process { process, .. } => {
                if let Some(mut process) = process.take() {
                    process.kill();
                }
            }
            Running::Container { container, killed } => {
                // Refused only where it does not run any more.
                let _ = container.act("kill");
                *killed = true;
            }
        }
    }

    pub(crate) fn stop(&mut self) {
        match &mut self.running {
            Running::Process { process, .. } => {
                if let Some(mut process) = process.take() {
                    process.stop();
                }
            }
            // Its data ends with it, so there is nothing to bring in order.
            Running::Container { .. } => self.kill(),
        }
    }

    pub(crate) fn pause(&mut self) {
        self.act(Process::pause, "pause");
    }

    pub(crate) fn resume(&mut self) {
        self.act(|process| process.signal(Signal::CONT), "unpause");
    }

    fn act(&self, on_process: impl Fn(&Process), verb: &str) {
        match &self.running {
            Running::Process { process, .. } => {
                if let Some(process) = process {
                    on_process(process);
                }
            }
            Running::Container { container, .. } => {
                // Refused where it is paused already, or not at all.
                let _ = container.act(verb);
            }
        }
    }

    fn tail(&self) -> LogTail {
        match &self.running {
            Running::Process {
                process: Some(process),
                ..
            } => process.tail(),
            Running::Process { process: None, .. } => LogTail {
                path: self.log.clone(),
                lines: Vec::new(),
            },
            Running::Container { container, .. } => container.tail(),
        }
    }
}

fn spawn(
    engine: Engine,
    launch: &Launch,
    log: &std::path::Path,
    watchdog: &Arc<Watchdog>,
) -> Result<Process, StartError> {
    Process::spawn(launch, log, watchdog).map_err(|source| StartError::Io {
        doing: format!("start {engine}"),
        source,
    })
}
