//! The program of a service of its own: on Kafka and MongoDB.

use std::{process::ExitCode, sync::Arc};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use super::{StopSignals, fail, refuse, until_stopped};
use crate::{
    document_store::mongo::{MongoSettings, MongoStore},
    environment::Environment,
    event_log::kafka::{KafkaLog, KafkaSettings},
    logging,
    operator::{self, Parked},
    service::{Ports, Running, Service, start},
    settings::{Arguments, Check, EngineArguments, EngineSettings, OwnSettings, ServiceSettings},
};

#[derive(Parser)]
struct Program<A: Args> {
    #[command(flatten)]
    arguments: Arguments,
    #[command(flatten)]
    engines: EngineArguments,
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
        // Help shows no value of the environment: it may be a secret.
        .mut_args(|arg| arg.global(true).hide_env_values(true))
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
    let engines = program.engines.check(&mut check);
    let (Some(settings), Some(own), Some(engines)) = (settings, own, engines) else {
        return refuse(S::NAME, &check.errors());
    };
    logging::start(settings.log_format, log::LevelFilter::Info);
    logging::this_thread_serves(S::NAME);
    actix::System::new().block_on(async move {
        let signals = StopSignals::listen();
        let ports = match real_ports(&engines, &settings.database, S::NAME).await {
            Ok(ports) => ports,
            Err(error) => return fail(&error),
        };
        match start::<S>(&settings, &own, ports, Environment::real()).await {
            Ok(running) => {
                announce(S::NAME, version, &settings, &running, &engines);
                until_stopped(vec![running], signals).await
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::{Args, Program};

    /// A service may call its settings as the kit does.
    #[derive(Args)]
    struct Arguments {
        #[arg(long)]
        of_its_own: Option<String>,
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Program::<Arguments>::command()
            .mut_args(|arg| arg.global(true))
            .debug_assert();
    }
}
