//! Processes in groups of their own, with their output in a log file.
//!
//! A group of its own keeps the terminal's Ctrl-C from an engine, so that we decide when and in
//! which order things end; and it lets a signal reach helpers that the process has started.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::error::{LogTail, StartError};
use crate::watchdog::Watchdog;

/// Between SIGTERM and SIGKILL. Both engines take well under a second for an orderly end.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

const POLL: Duration = Duration::from_millis(10);

/// Waits for one line, then becomes the program. If the line never comes, our end of the pipe was
/// closed: we are gone, and the program must not start.
const GATE: &str = r#"read -r go || exit 1; exec "$@" </dev/null"#;

/// A command line.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
}

impl Launch {
    pub(crate) fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
        }
    }

    pub(crate) fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub(crate) fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Runs it to its end as one `step` of a start.
    pub(crate) fn run(
        &self,
        step: &'static str,
        log: &Path,
        watchdog: &Arc<Watchdog>,
    ) -> Result<(), StartError> {
        let mut process = Process::spawn(self, log, watchdog).map_err(|source| StartError::Io {
            doing: format!("start {}", self.program.display()),
            source,
        })?;
        let status = process.wait().map_err(|source| StartError::Io {
            doing: step.to_owned(),
            source,
        })?;
        if status.success() {
            return Ok(());
        }
        Err(StartError::Step {
            step,
            status,
            log: process.tail(),
        })
    }
}

/// A running process; ended with SIGKILL when dropped.
pub(crate) struct Process {
    child: Child,
    group: Pid,
    ended: Option<ExitStatus>,
    log: PathBuf,
    log_start: u64,
    watchdog: Arc<Watchdog>,
}

impl Process {
    /// Starts it at the end of the log.
    ///
    /// What is started at first is a shell that waits. Only when the watchdog knows its group is it
    /// told to become the program, so that no moment exists at which our end would leave it behind.
    pub(crate) fn spawn(launch: &Launch, log: &Path, watchdog: &Arc<Watchdog>) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(log)?;
        let log_start = file.metadata()?.len();
        let mut child = Command::new("/bin/sh")
            .args(["-c", GATE, "gate"])
            .arg(&launch.program)
            .args(&launch.arguments)
            .stdin(Stdio::piped())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .spawn()?;
        let mut gate = child.stdin.take().expect("standard input is piped");
        let group = Pid::from_child(&child);
        let process = Self {
            child,
            group,
            ended: None,
            log: log.to_owned(),
            log_start,
            watchdog: Arc::clone(watchdog),
        };
        watchdog.tell("group", process.child.id())?;
        gate.write_all(b"go\n")?;
        Ok(process)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it has ended, if it has.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait()?;
            if self.ended.is_some() {
                // Only a broken pipe could fail here: then the watchdog has gone before us.
                let _ = self.watchdog.tell("group-ended", self.id());
            }
        }
        Ok(self.ended)
    }

    pub(crate) fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            thread::sleep(POLL);
        }
    }

    /// Signals the group, unless it has ended: its id may be another's by then.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.ended.is_none() {
            // Fails only if the group is gone, which is seen by `ended`.
            let _ = kill_process_group(self.group, signal);
        }
    }

    /// SIGSTOP, and waits until it is obeyed: a process of many threads may answer a moment longer.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
        let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let begin = Instant::now();
        while matches!(waitid(WaitId::Pid(self.group), stopped), Ok(None)) && begin.elapsed() < GRACE {
            thread::sleep(POLL);
        }
    }

    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.wait();
    }

    /// SIGTERM, and SIGKILL after [`GRACE`].
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::TERM);
        self.signal(Signal::CONT); // a paused one hears SIGTERM only now
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if !matches!(self.ended(), Ok(None)) {
                return;
            }
            thread::sleep(POLL);
        }
        self.kill();
    }

    /// The end of what this process, not an earlier one, has logged.
    pub(crate) fn tail(&self) -> LogTail {
        LogTail {
            path: self.log.clone(),
            lines: tail(&self.log, self.log_start).unwrap_or_default(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.kill();
        }
    }
}

/// What a log tells from `start` on: the last errors if it names any (a crash ends in a hundred lines
/// of stack, and the reason stands above them), else the last lines.
fn tail(log: &Path, start: u64) -> io::Result<Vec<String>> {
    const BYTES: u64 = 64 * 1024;
    const LINES: usize = 12;
    const WIDTH: usize = 400;
    // mongod's severities "error" and "fatal"; Kafka's, and those of the tools that we run.
    const ERRORS: [&str; 5] = [r#""s":"E""#, r#""s":"F""#, "ERROR", "Exception: ", "error: "];

    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(start.max(length.saturating_sub(BYTES))))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let is_error = |line: &&str| ERRORS.iter().any(|mark| line.contains(mark));
    let mut lines: Vec<&str> = text.lines().filter(is_error).collect();
    if lines.is_empty() {
        lines = text.lines().collect();
    }
    let last = &lines[lines.len().saturating_sub(LINES)..];
    Ok(last
        .iter()
        .map(|line| line.chars().take(WIDTH).collect())
        .collect())
}
