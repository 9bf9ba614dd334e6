//! One engine: launched, ready, killed, started again.

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
use crate::{Engine, kafka, mongo, ports};

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
}

/// One engine that was started.
pub(crate) struct Instance {
    pub(crate) engine: Engine,
    /// The value of its environment variable.
    pub(crate) address: String,
    pub(crate) log: PathBuf,
    /// Of Kafka: where those listen who are told the proxy's address.
    pub(crate) behind_proxy: Option<u16>,
    port: u16,
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

impl Instance {
    /// Starts it and waits until it is ready.
    pub(crate) fn start(
        engine: Engine,
        wish: Wish,
        means: Means,
        place: &Place,
        watchdog: &Arc<Watchdog>,
    ) -> Result<Self, StartError> {
        let mut attempt = 1;
        loop {
            match Self::attempt(engine, wish, means, place, watchdog) {
                Err(error) if wish.port == 0 && attempt < ATTEMPTS && error.is_port_taken() => attempt += 1,
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
    ) -> Result<Self, StartError> {
        let port = ports::choose(engine, wish.port)?;
        let proxied = match wish.proxy {
            Some(advertised) => Some(Proxied {
                port: ports::choose_other(engine, port)?,
                advertised,
            }),
            None => None,
        };
        let log = place.log(engine);
        let running = match means {
            Means::Docker => Running::Container {
                container: Container::run(engine, port, proxied, place, watchdog)?,
                killed: false,
            },
            Means::Process => {
                let launch = match engine {
                    Engine::Kafka => kafka::prepare(port, (proxied, wish.for_long), place, watchdog)?,
                    Engine::Mongo => mongo::prepare(port, place, watchdog)?,
                };
                let process = Some(spawn(engine, &launch, &log, watchdog)?);
                Running::Process { launch, process }
            }
        };
        let address = match engine {
            Engine::Kafka => kafka::address(port),
            Engine::Mongo => mongo::address(port),
        };
        let mut instance = Self {
            engine,
            address,
            log,
            behind_proxy: proxied.map(|proxied| proxied.port),
            port,
            running,
        };
        instance.wait_until_ready()?;
        Ok(instance)
    }

    pub(crate) fn restart(&mut self, watchdog: &Arc<Watchdog>) -> Result<(), StartError> {
        self.kill();
        match &mut self.running {
            Running::Process { launch, process } => {
                *process = Some(spawn(self.engine, launch, &self.log, watchdog)?);
            }
            Running::Container { container, killed } => {
                container.start()?;
                *killed = false;
            }
        }
        // The probes bring or use a runtime of their own, which no thread of another may hold.
        thread::scope(|scope| crate::join(scope.spawn(|| self.wait_until_ready())))
    }

    fn wait_until_ready(&mut self) -> Result<(), StartError> {
        let mut ask: Box<dyn FnMut() -> Result<(), String>> = match self.engine {
            Engine::Kafka => {
                let mut probe = kafka::Probe::new(self.port);
                Box::new(move || probe.ask())
            }
            Engine::Mongo => {
                let mut probe = mongo::Probe::new(self.port).map_err(|source| StartError::Io {
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
                    engine: self.engine,
                    how,
                    log: self.tail(),
                });
            }
            match answer {
                Ok(()) => return Ok(()),
                Err(last) if begin.elapsed() > READY => {
                    return Err(StartError::NotReady {
                        engine: self.engine,
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
