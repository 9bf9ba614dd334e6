//! A process of the simulation: everything that one incarnation of a service runs, as a set of tasks
//! that can be killed or frozen as a whole.
//!
//! Killing drops all of its tasks at once, as `kill -9` does; what it had sent is on its way.
//! Freezing stops polling them, as `SIGSTOP` does: its timers fire when it goes on.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use tokio::{sync::Notify, task::LocalSet};

use crate::{lock, timeline::speaker};

/// How a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It runs.
    Running,
    /// It stands still, and may go on.
    Frozen,
    /// It is gone for good; a next incarnation is another process.
    Dead,
}

/// One incarnation.
#[derive(Debug)]
pub struct Process {
    name: Arc<str>,
    state: Mutex<(Mode, Option<Waker>)>,
    changed: Notify,
}

impl Process {
    /// A process that runs once it is [driven](Process::drive).
    pub fn new(name: String) -> Arc<Process> {
        Arc::new(Process {
            name: name.into(),
            state: Mutex::new((Mode::Running, None)),
            changed: Notify::new(),
        })
    }

    /// Its name with the number of its incarnation.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it is.
    pub fn mode(&self) -> Mode {
        lock(&self.state).0
    }

    /// It is not dead.
    pub fn is_alive(&self) -> bool {
        self.mode() != Mode::Dead
    }

    /// Ends it for good.
    pub fn kill(&self) {
        self.set(Mode::Dead);
    }

    /// Stops it; `false`: it is dead, or stopped already.
    pub fn freeze(&self) -> bool {
        let runs = self.mode() == Mode::Running;
        if runs {
            self.set(Mode::Frozen);
        }
        runs
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        if self.mode() == Mode::Frozen {
            self.set(Mode::Running);
        }
    }

    fn set(&self, mode: Mode) {
        let waker = {
            let mut state = lock(&self.state);
            state.0 = mode;
            state.1.take()
        };
        waker.into_iter().for_each(Waker::wake);
        self.changed.notify_waiters();
    }

    /// Waits until it runs. `false`: it never will again.
    pub async fn runs(&self) -> bool {
        loop {
            let changed = self.changed.notified();
            match self.mode() {
                Mode::Running => return true,
                Mode::Dead => return false,
                Mode::Frozen => changed.await,
            }
        }
    }

    /// Waits until it is dead.
    pub async fn died(&self) {
        loop {
            let changed = self.changed.notified();
            if !self.is_alive() {
                return;
            }
            changed.await;
        }
    }

    /// Runs the tasks until the process is killed, then drops them.
    pub fn drive(self: Arc<Process>, tasks: LocalSet) -> Driven {
        Driven { process: self, tasks }
    }
}

/// See [`Process::drive`].
pub struct Driven {
    process: Arc<Process>,
    tasks: LocalSet,
}

impl Future for Driven {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mode = {
            let mut state = lock(&self.process.state);
            state.1 = Some(cx.waker().clone());
            state.0
        };
        if mode == Mode::Running {
            let before = speaker(Some(self.process.name.clone()));
            // Done or not: a process without tasks still is one.
            let _ = Pin::new(&mut self.tasks).poll(cx);
            speaker(before);
        }
        if self.process.is_alive() {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }
}
