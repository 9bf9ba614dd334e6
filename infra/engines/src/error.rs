//! Every way in which a start fails, worded for whoever has to act on it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use crate::Engine;

/// Why the engines did not start. Whatever had been started by then has been ended.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Tools that are not on this machine: one line for each.
    #[error("{}", lines(.0))]
    MissingTools(Vec<MissingTool>),

    /// The name is not fit for a folder.
    #[error("`{0}` is no name for a folder: use letters, digits, `-`, `_`, not `cache`")]
    Name(String),

    /// What was asked for does not go together.
    #[error("{0}")]
    Settings(&'static str),

    /// Another process holds the folder of this name.
    #[error("the engines named `{name}` are in use by process {holder}: end it, or choose another name")]
    NameInUse {
        /// The name that was asked for.
        name: String,
        /// Who has it: a process id, as far as it could be read.
        holder: String,
    },

    /// The port that was asked for by number is not free.
    #[error("port {port} for {engine} is taken: choose another, or 0 for a free one")]
    PortTaken {
        /// Whose port.
        engine: Engine,
        /// Its number.
        port: u16,
    },

    /// A download or another preparation failed.
    #[error("{step}: failed ({status}); {log}")]
    Step {
        /// What was under way.
        step: &'static str,
        /// How the command ended.
        status: ExitStatus,
        /// What it said last.
        log: LogTail,
    },

    /// The engine ended before it was ready.
    #[error("{engine} ended while it was starting ({how}); {log}")]
    Ended {
        /// Which engine.
        engine: Engine,
        /// Its exit status, in words.
        how: String,
        /// What it said last.
        log: LogTail,
    },

    /// The engine runs but did not become ready in time.
    #[error("{engine} was not ready after {} s: {last}; {log}", .after.as_secs())]
    NotReady {
        /// Which engine.
        engine: Engine,
        /// How long we waited.
        after: Duration,
        /// What the last attempt to use it said.
        last: String,
        /// What it said last.
        log: LogTail,
    },

    /// Docker refused.
    #[error("docker {doing}: {said}")]
    Docker {
        /// The sub-command.
        doing: String,
        /// Its standard error.
        said: String,
    },

    /// The operating system refused.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What we tried.
        doing: String,
        /// What it said.
        source: io::Error,
    },
}

impl StartError {
    /// Whether another port may help: someone took ours after we had found it free.
    pub(crate) fn is_port_taken(&self) -> bool {
        let taken = |line: &str| {
            let line = line.to_lowercase();
            line.contains("address already in use") || line.contains("port is already allocated")
        };
        match self {
            Self::PortTaken { .. } => true,
            Self::Ended { log, .. } => log.lines.iter().any(|line| taken(line)),
            Self::Docker { said, .. } => taken(said),
            Self::MissingTools(_)
            | Self::Name(_)
            | Self::Settings(_)
            | Self::NameInUse { .. }
            | Self::Step { .. }
            | Self::NotReady { .. }
            | Self::Io { .. } => false,
        }
    }
}

/// A tool that is needed and not there.
#[derive(Clone, Debug)]
pub struct MissingTool {
    /// Its name and version.
    pub tool: &'static str,
    /// What it is needed for.
    pub purpose: &'static str,
    /// How to get it.
    pub remedy: &'static str,
}

impl fmt::Display for MissingTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "missing {} ({}); get it: {}",
            self.tool, self.purpose, self.remedy
        )
    }
}

/// The last lines of a log, quoted in messages.
#[derive(Clone, Debug, Default)]
pub struct LogTail {
    /// The log file.
    pub path: PathBuf,
    /// Its last lines.
    pub lines: Vec<String>,
}

impl fmt::Display for LogTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "log: {}", self.path.display())?;
        self.lines.iter().try_for_each(|line| write!(f, "\n  | {line}"))
    }
}

fn lines(tools: &[MissingTool]) -> String {
    tools
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}
