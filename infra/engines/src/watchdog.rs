//! Ends the engines when this process is gone, even by SIGKILL.
//!
//! Rust never drops a static, and a killed process drops nothing; so a small `sh` in a process group
//! of its own reads from a pipe whose only write end is ours. The kernel closes it when we end, in
//! whichever way, and `watchdog.sh` then ends what is still on its list. It needs no privileges, no
//! `prctl` (which only Linux has, and which goes by the *thread* that started the child), and no
//! unsafe code.
//!
//! There is no gap between the start of an engine and its registration: see
//! [`Process::spawn`](crate::process::Process::spawn).

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::error::StartError;
use crate::place::Place;
use crate::process::GRACE;

/// The handle of the watchdog; to drop it is to let it act.
pub(crate) struct Watchdog {
    inner: Mutex<Option<(Child, ChildStdin)>>,
}

impl Watchdog {
    /// Starts it, with the lock on the folder in its hands too.
    pub(crate) fn start(place: &Place, throw_away: bool) -> Result<Self, StartError> {
        let grace = if throw_away { 0 } else { GRACE.as_millis() / 100 };
        let failed = |source| StartError::Io {
            doing: "start the watchdog".into(),
            source,
        };
        let mut child = Command::new("/bin/sh")
            .args(["-c", include_str!("watchdog.sh"), "watchdog"])
            .arg(grace.to_string())
            .arg(if throw_away {
                place.folder.as_os_str()
            } else {
                "".as_ref()
            })
            .stdin(Stdio::piped())
            .stdout(place.lock().map_err(failed)?)
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let stdin = child.stdin.take().expect("standard input is piped");
        Ok(Self {
            inner: Mutex::new(Some((child, stdin))),
        })
    }

    /// Tells it one line: a verb of `watchdog.sh` and what it is about.
    pub(crate) fn tell(&self, verb: &str, what: impl std::fmt::Display) -> std::io::Result<()> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        match inner.as_mut() {
            Some((_, stdin)) => stdin.write_all(format!("{verb} {what}\n").as_bytes()),
            None => Ok(()),
        }
    }

    /// Lets it do what is left to do and waits until it is through.
    pub(crate) fn dismiss(&self) {
        let taken = self.inner.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((mut child, stdin)) = taken {
            drop(stdin);
            // Fails only if someone else has reaped it: then it is through as well.
            let _ = child.wait();
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.dismiss();
    }
}
