//! The program around a service: arguments, engines, signals, exit code.
//!
//! Exit codes: 0 stopped when told to; 1 could not start; 2 wrong settings; 70 an actor died that
//! the service cannot do without (a supervisor starts it anew); 75 told to stop, but not all was
//! finished in time.

use std::{io::Write, process::ExitCode};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{service::Running, settings::SettingError};

#[cfg(all(feature = "kafka", feature = "mongo"))]
mod run;

#[cfg(all(feature = "kafka", feature = "mongo"))]
pub use run::{kafka, run};

/// Names every wrong setting.
pub fn refuse(program: &str, errors: &[SettingError]) -> ExitCode {
    for error in errors {
        let _ = writeln!(std::io::stderr(), "{program}: {error}");
    }
    let _ = writeln!(
        std::io::stderr(),
        "{program}: nothing was started; --help lists the settings"
    );
    ExitCode::from(2)
}

/// Says why nothing could be started.
pub fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    log::error!(target: "Service", "{error}");
    ExitCode::FAILURE
}

/// Runs services until a signal comes or an actor dies that a service cannot do without, and then
/// stops them. A second signal ends the process at once.
pub async fn until_stopped(mut services: Vec<Running>, mut signals: StopSignals) -> ExitCode {
    let death = async {
        let deaths = services.iter_mut().map(|service| Box::pin(service.death()));
        futures_util::future::select_all(deaths).await.0
    };
    let died = tokio::select! {
        biased;
        () = signals.next() => None,
        actor = death => Some(actor),
    };
    if let Some(actor) = died {
        log::error!(target: "Service", "the {actor} is dead; ending, so that a supervisor starts the service anew");
    }
    // With an actor dead there is nothing to serve on with.
    let stop = |service: Running| async move {
        match died {
            Some(_) => service.stop_now().await,
            None => service.stop().await,
        }
    };
    let stopped = futures_util::future::join_all(services.into_iter().map(stop));
    let in_time = tokio::select! {
        biased;
        stopped = stopped => stopped.into_iter().all(|in_time| in_time),
        () = signals.next() => false,
    };
    match (died, in_time) {
        (Some(_), _) => ExitCode::from(70),
        (None, true) => ExitCode::SUCCESS,
        (None, false) => ExitCode::from(75),
    }
}

/// SIGINT (Ctrl-C) and SIGTERM. Listen before a service starts: a signal that comes during the start
/// then stops the service in order, as soon as it runs.
pub struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    /// From now on, a signal is kept for [`StopSignals::next`] and does not end the process by default.
    pub fn listen() -> StopSignals {
        let listen = |kind| signal(kind).expect("a Tokio runtime runs, and both signals can be caught");
        StopSignals {
            interrupt: listen(SignalKind::interrupt()),
            terminate: listen(SignalKind::terminate()),
        }
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        process::{self, Command},
        time::Duration,
    };

    use super::StopSignals;

    #[actix::test]
    async fn a_signal_that_comes_while_a_service_starts_stops_it_afterwards() {
        let mut signals = StopSignals::listen();
        let me = process::id().to_string();
        let sent = Command::new("kill").args(["-TERM", &me]).status();
        assert!(sent.expect("kill runs").success());
        let next = tokio::time::timeout(Duration::from_secs(10), signals.next());
        next.await.expect("the signal was noticed");
    }
}
