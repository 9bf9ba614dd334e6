//! The settings of the whole: those of the services, with addresses for each, and where embedded data
//! lives.

use std::path::PathBuf;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use shared::{
    operator::Parked,
    settings::{Arguments, Check, EngineArguments, SettingError},
};

use crate::{
    engines::Engines,
    hosted::{Checked, SERVICES, SHIPPING},
};

/// Orders and Customers in one process. Without Kafka and MongoDB they run on an embedded log and
/// embedded databases, durable in the data directory.
#[derive(Debug, Clone, Parser)]
#[command(name = "stack", version)]
struct Line {
    /// Directory of the embedded log and databases [default: .data, for the demo .data/demo]
    #[arg(long, env = "DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Start Shipping as well, the example of a third service
    #[arg(long, env = "WITH_SHIPPING")]
    with_shipping: bool,
    #[command(flatten)]
    engines: EngineArguments,
    #[command(flatten)]
    arguments: Arguments,
    /// What to do
    #[command(subcommand)]
    command: Option<Command>,
}

/// The command line and the environment, as they were given.
#[derive(Debug, Clone)]
pub struct Program {
    line: Line,
    matches: ArgMatches,
}

/// What the program can do beside running until it is stopped.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Play four stories on free ports and show the timeline of each order
    Demo,
    /// See and settle records that could not be handled, at the services that run
    Parked(Parked),
}

/// The checked settings of the whole.
pub struct StackSettings {
    /// Those of each service.
    pub services: Vec<Box<dyn Checked>>,
    /// The real engines; what is not given is embedded.
    pub engines: Engines,
    /// Where embedded data lives.
    pub data_dir: PathBuf,
}

fn command() -> clap::Command {
    // Each service has its own of these; one for all would be wrong.
    let own = ["http_addr", "admin_addr", "kafka_group", "mongodb_database"];
    let command = SERVICES
        .iter()
        .fold(Line::command(), |command, service| service.augment(command));
    let mut command = command.mut_args(|arg| {
        let arg = arg.hide_env_values(true);
        match arg.get_id().as_str() {
            "kafka_brokers" => arg.visible_alias("kafka").global(true),
            "mongodb_uri" => arg.visible_alias("mongo").global(true),
            id if own.contains(&id) => arg.hide(true),
            _ => arg.global(true),
        }
    });
    command.build();
    command
}

impl Program {
    /// Reads the command line and the environment; prints help and ends where that is asked for.
    pub fn parse() -> Program {
        Program::of(command().get_matches()).unwrap_or_else(|error| error.exit())
    }

    /// Reads these in place of the command line.
    pub fn parse_from<'a>(line: impl IntoIterator<Item = &'a str>) -> Result<Program, clap::Error> {
        let line: Vec<_> = line.into_iter().map(str::to_owned).collect();
        Program::of(command().try_get_matches_from(line)?)
    }

    fn of(matches: ArgMatches) -> Result<Program, clap::Error> {
        let line = Line::from_arg_matches(&matches)?;
        Ok(Program { line, matches })
    }

    /// What to do beside running.
    pub fn command(&self) -> Option<&Command> {
        self.line.command.as_ref()
    }

    /// Checks the settings; names all that is wrong.
    pub fn check(&self) -> Result<StackSettings, Vec<SettingError>> {
        let demo = matches!(self.line.command, Some(Command::Demo));
        let mut check = Check::default();
        let wanted = SERVICES
            .iter()
            .filter(|service| service.name() != SHIPPING || self.line.with_shipping);
        let services: Vec<_> = wanted
            .map(|service| service.check(&self.matches, &self.line.arguments, demo, &mut check))
            .collect();
        let operates = matches!(self.line.command, Some(Command::Parked(_)));
        let engines = match operates {
            true => Some(Engines::default()),
            false => Engines::check(&self.line.engines, &mut check),
        };
        let services: Option<Vec<_>> = services.into_iter().collect();
        match (services, engines, check.errors()) {
            (Some(services), Some(engines), errors) if errors.is_empty() => {
                let default = if demo { ".data/demo" } else { ".data" };
                Ok(StackSettings {
                    services,
                    engines,
                    data_dir: self.line.data_dir.clone().unwrap_or_else(|| default.into()),
                })
            }
            (_, _, errors) => Err(errors),
        }
    }
}
