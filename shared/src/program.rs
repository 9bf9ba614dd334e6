//! The program around a service: arguments, engines, signals, exit code.
//!
//! Exit codes: 0 stopped when told to; 1 could not start; 2 wrong settings; 70 an actor died that
//! the service cannot do without (a supervisor starts it anew); 75 told to stop, but not all was
//! finished in time.

use std::{io::Write, process::ExitCode, sync::Arc};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::{
    document_store::mongo::{MongoSettings, MongoStore},
    environment::Environment,
    event_log::kafka::{KafkaLog, KafkaSettings},
    logging,
    operator::{self, Parked},
    service::{Ports, Running, Service, start},
    settings::{Arguments, Check, EngineSettings, OwnSettings, ServiceSettings, SettingError},
};

#[derive(Parser)]
struct Program<A: Args> {
    #[command(flatten)]
    arguments: Arguments,
    #[command(flatten)]
    own: A,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Ask the service that runs at HTTP_ADDR whether it is ready; exit code 0 if so
    Health,
    /// See and settle records that could not be handled, at the service that runs at ADMIN_ADDR
    Parked(Parked),
}

/// Runs a service on the Kafka and the MongoDB that the arguments name, until it is told to stop.
pub fn run<S: Service>(version: &'static str) -> ExitCode {
    type Program<S> = self::Program<<<S as Service>::Settings as OwnSettings>::Arguments>;
    let command = Program::<S>::command()
        .name(S::NAME)
        .version(version)
        .about(format!(
            "The {} service: talks through Apache Kafka, keeps its data in MongoDB",
            S::NAME
        ))
        .mut_args(|arg| arg.global(true))
        .mut_arg("http_addr", |arg| arg.default_value(S::DEFAULTS.http_addr))
        .mut_arg("admin_addr", |arg| arg.default_value(S::DEFAULTS.admin_addr))
        .mut_arg("kafka_group", |arg| arg.default_value(S::DEFAULTS.group))
        .mut_arg("mongodb_database", |arg| arg.default_value(S::DEFAULTS.database));
    let program = Program::<S>::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit());
    let mut check = Check::default();
    let settings = program.arguments.service(S::DEFAULTS, &mut check);
    let own = S::Settings::check(&program.own, &mut check);
    match (&program.command, &settings) {
        (Some(Command::Health), Some(settings)) => return operator::health(settings.http_addr),
        (Some(Command::Parked(parked)), Some(settings)) => return parked.run(settings.admin_addr),
        _ => {}
    }
    let engines = program.arguments.engines(&mut check);
    let (Some(settings), Some(own), Some(engines)) = (settings, own, engines) else {
        return refuse(S::NAME, &check.errors());
    };
    logging::start(settings.log_format, log::LevelFilter::Info);
    logging::this_thread_serves(S::NAME);
    actix::System::new().block_on(async move {
        let ports = match real_ports(&engines, &settings.database, S::NAME).await {
            Ok(ports) => ports,
            Err(error) => return fail(&error),
        };
        match start::<S>(&settings, &own, ports, Environment::real()).await {
            Ok(running) => {
                announce(S::NAME, version, &settings, &running, &engines);
                until_stopped(vec![running]).await
            }
            Err(error) => fail(&error),
        }
    })
}

fn announce(
    name: &str,
    version: &str,
    settings: &ServiceSettings,
    running: &Running,
    engines: &EngineSettings,
) {
    log::info!(target: "Service", http = format!("http://{}", running.http_addr),
        admin = format!("http://{}", running.admin_addr), kafka = engines.kafka_brokers.as_str(),
        topic = settings.topic.as_str(), group = settings.group.as_str(), database = settings.database.as_str();
        "{name} {version} runs");
}

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

/// The log and the database of a service on real engines. Neither has to be there yet.
async fn real_ports(engines: &EngineSettings, database: &str, client: &str) -> Result<Ports, String> {
    let log = kafka(engines, client)?;
    let mongo = MongoSettings::new(&engines.mongodb_uri, database);
    let store = MongoStore::new(mongo)
        .await
        .map_err(|error| format!("MONGODB_URI: {error}"))?;
    Ok(Ports {
        log: Arc::new(log),
        store: Arc::new(store),
    })
}

/// A log on Kafka, which need not be there yet. `client` is how its brokers' logs call this process.
pub fn kafka(engines: &EngineSettings, client: &str) -> Result<KafkaLog, String> {
    let settings = KafkaSettings {
        client_id: client.to_owned(),
        group_protocol: engines.group_protocol,
        extra: engines.kafka_options.clone(),
        ..KafkaSettings::new(&engines.kafka_brokers)
    };
    KafkaLog::new(settings).map_err(|error| format!("KAFKA_BROKERS or KAFKA_OPTIONS: {error}"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Program::<()>::command()
            .mut_args(|arg| arg.global(true))
            .debug_assert();
    }
}
