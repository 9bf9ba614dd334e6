//! Where things lie: `target/engines/cache` and `target/engines/<name>`.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, test_kill_process};

use crate::Node;
use crate::error::StartError;
use crate::process::GRACE;

/// The folder of one pair of engines, locked.
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    lock: File,
}

impl Place {
    /// Takes the folder, waiting for the end of engines whose starter has ended already.
    pub(crate) fn open(name: &str) -> Result<Self, StartError> {
        let fit = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || name == "cache" || !name.chars().all(fit) {
            return Err(StartError::Name(name.to_owned()));
        }
        let folder = root().join(name);
        create(&folder)?;
        let path = folder.join("lock");
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(doing("open", &path))?;
        let mut place = Self {
            name: name.to_owned(),
            folder,
            lock,
        };
        place
            .acquire()
            .map_err(doing("lock", &path))?
            .map_err(|holder| StartError::NameInUse {
                name: name.to_owned(),
                holder,
            })?;
        Ok(place)
    }

    /// Inner error: who holds the lock.
    fn acquire(&mut self) -> io::Result<Result<(), String>> {
        let deadline = Instant::now() + GRACE + Duration::from_secs(2);
        loop {
            match self.lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) => {}
            }
            let path = self.folder.join("lock");
            let holder = fs::read_to_string(path).unwrap_or_default();
            let alive = holder
                .parse()
                .ok()
                .and_then(Pid::from_raw)
                .is_some_and(|pid| test_kill_process(pid).is_ok());
            if alive || Instant::now() > deadline {
                return Ok(Err(holder));
            }
            thread::sleep(Duration::from_millis(50));
        }
        self.lock.set_len(0)?;
        write!(self.lock, "{}", std::process::id())?;
        Ok(Ok(()))
    }

    /// The lock, to be held by a child as well.
    pub(crate) fn lock(&self) -> io::Result<Stdio> {
        self.lock.try_clone().map(Stdio::from)
    }

    /// Where the node's data lie. A cluster of another size has other folders: what one has agreed
    /// on does not fit the other.
    pub(crate) fn data(&self, node: Node, of: u16) -> PathBuf {
        self.folder.join(name(node, of))
    }

    pub(crate) fn log(&self, node: Node, of: u16) -> PathBuf {
        self.folder.join(format!("{}.log", name(node, of)))
    }

    /// A log that begins now and, where `fresh`, an empty folder of data.
    pub(crate) fn prepare(&self, node: Node, of: u16, fresh: bool) -> Result<(), StartError> {
        let (data, log) = (self.data(node, of), self.log(node, of));
        if fresh {
            remove(&data)?;
        }
        create(&data)?;
        File::create(&log).map_err(doing("create", &log))?;
        Ok(())
    }
}

/// `kafka`, or `kafka-2-of-3`.
fn name(node: Node, of: u16) -> String {
    match of {
        1 => node.engine.word().to_owned(),
        _ => format!("{}-{}-of-{of}", node.engine.word(), node.number + 1),
    }
}

/// The folder of everything that was downloaded.
pub(crate) fn cache() -> PathBuf {
    root().join("cache")
}

/// `engines` in cargo's target folder.
fn root() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let workspace = workspace.canonicalize().unwrap_or(workspace);
    let target = std::env::var_os("CARGO_TARGET_DIR").filter(|value| !value.is_empty());
    // `join` keeps an absolute path as it is.
    workspace
        .join(target.unwrap_or_else(|| "target".into()))
        .join("engines")
}

pub(crate) fn create(folder: &Path) -> Result<(), StartError> {
    fs::create_dir_all(folder).map_err(doing("create", folder))
}

/// Removes a folder, which may be missing.
pub(crate) fn remove(folder: &Path) -> Result<(), StartError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(doing("remove", folder)(error)),
        _ => Ok(()),
    }
}

/// Names what we tried in the error of a file operation.
pub(crate) fn doing(verb: &str, path: &Path) -> impl FnOnce(io::Error) -> StartError {
    let doing = format!("{verb} {}", path.display());
    move |source| StartError::Io { doing, source }
}
