//! The program around a service: arguments, engines, signals, exit code.
//!
//! Exit codes: 0 stopped when told to; 1 could not start; 2 wrong settings; 70 an actor died that
//! the service cannot do without (a supervisor starts it anew); 75 told to stop, but not all was
//! finished in time.

use std::{io::Write, process::ExitCode};

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

/// Runs services until SIGINT, SIGTERM or the death of an actor that one of them cannot do without,
/// then stops them. A second signal ends the process at once.
pub async fn until_stopped(mut services: Vec<Running>) -> ExitCode {
    let death = async {
        let deaths = services.iter_mut().map(|service| Box::pin(service.death()));
        futures_util::future::select_all(deaths).await.0
    };
    let died = tokio::select! {
        biased;
        () = signal() => None,
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
        () = signal() => false,
    };
    match (died, in_time) {
        (Some(_), _) => ExitCode::from(70),
        (None, true) => ExitCode::SUCCESS,
        (None, false) => ExitCode::from(75),
    }
}

/// SIGINT (Ctrl-C) or SIGTERM.
async fn signal() {
    let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
    match terminate {
        Ok(mut terminate) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        }
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}
