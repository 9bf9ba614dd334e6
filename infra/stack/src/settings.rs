//! The settings of the whole: those of the services, with an address for each, and where embedded
//! data lives.

use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use customers::Customers;
use orders::Orders;
use shared::{
    service::Service,
    settings::{Arguments, Check, EngineSettings, ServiceSettings, SettingError},
};

/// Orders and Customers in one process. Without Kafka and MongoDB they run on an embedded log and
/// embedded databases, durable in the data directory.
#[derive(Debug, Clone, Parser)]
#[command(name = "stack", version)]
pub struct Program {
    /// Address at which Customers answers HTTP
    #[arg(long, env = "CUSTOMERS_ADDR", value_name = "ADDR", default_value = Customers::DEFAULTS.http_addr, hide_env_values = true)]
    customers_addr: String,
    /// Address at which Orders answers HTTP
    #[arg(long, env = "ORDERS_ADDR", value_name = "ADDR", default_value = Orders::DEFAULTS.http_addr, hide_env_values = true)]
    orders_addr: String,
    /// Address at which Customers answers operators
    #[arg(long, env = "CUSTOMERS_ADMIN_ADDR", value_name = "ADDR", default_value = Customers::DEFAULTS.admin_addr, hide_env_values = true)]
    customers_admin_addr: String,
    /// Address at which Orders answers operators
    #[arg(long, env = "ORDERS_ADMIN_ADDR", value_name = "ADDR", default_value = Orders::DEFAULTS.admin_addr, hide_env_values = true)]
    orders_admin_addr: String,
    /// Directory of the embedded log and databases [default: .data, for the demo .data/demo]
    #[arg(long, env = "DATA_DIR", value_name = "DIR", hide_env_values = true)]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    arguments: Arguments,
    /// What to do
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the program can do beside running until it is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Play four stories on free ports and show the timeline of each order
    Demo,
}

/// The checked settings of the whole.
#[derive(Clone)]
pub struct StackSettings {
    /// Of Customers.
    pub customers: ServiceSettings,
    /// Of Orders.
    pub orders: ServiceSettings,
    /// The real engines; what is not given is embedded.
    pub engines: Engines,
    /// Where embedded data lives.
    pub data_dir: PathBuf,
}

/// The real engines that are to be used.
#[derive(Clone, Default)]
pub struct Engines {
    /// With its `kafka_brokers`, where Kafka is used.
    pub kafka: Option<EngineSettings>,
    /// With its `mongodb_uri`, where MongoDB is used.
    pub mongo: Option<EngineSettings>,
}

impl Program {
    /// Reads the command line and the environment; prints help and ends where that is asked for.
    pub fn parse_all() -> Program {
        // Each service has its own of these; one for both would be wrong.
        let own = ["http_addr", "admin_addr", "kafka_group", "mongodb_database"];
        let mut command = Program::command().mut_args(|arg| match arg.get_id().as_str() {
            "kafka_brokers" => arg.visible_alias("kafka").global(true),
            "mongodb_uri" => arg.visible_alias("mongo").global(true),
            id if own.contains(&id) => arg.hide(true),
            _ => arg.global(true),
        });
        command.build();
        Program::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
    }

    /// Checks them; names all that is wrong.
    pub fn check(&self) -> Result<StackSettings, Vec<SettingError>> {
        let demo = self.command == Some(Command::Demo);
        let addr = |given: &str| {
            if demo {
                "127.0.0.1:0".to_owned()
            } else {
                given.to_owned()
            }
        };
        let service = |http_addr: &str, admin_addr: &str, defaults| {
            let arguments = Arguments {
                http_addr: Some(addr(http_addr)),
                admin_addr: Some(addr(admin_addr)),
                kafka_group: None,
                mongodb_database: None,
                ..self.arguments.clone()
            };
            let mut check = Check::default();
            (arguments.service(defaults, &mut check), check.errors())
        };
        let (customers, customers_errors) = service(
            &self.customers_addr,
            &self.customers_admin_addr,
            Customers::DEFAULTS,
        );
        let (orders, orders_errors) = service(&self.orders_addr, &self.orders_admin_addr, Orders::DEFAULTS);
        let mut check = Check::default();
        let given = |value: &Option<String>| value.as_deref().is_some_and(|value| !value.trim().is_empty());
        let (kafka, mongo) = (
            given(&self.arguments.kafka_brokers),
            given(&self.arguments.mongodb_uri),
        );
        let engines = (kafka || mongo).then(|| {
            // The other engine is not asked for, so it is not missing either.
            let filled = |value: &Option<String>, unused: &str| value.clone().or(Some(unused.to_owned()));
            let arguments = Arguments {
                kafka_brokers: filled(&self.arguments.kafka_brokers, "unused"),
                mongodb_uri: filled(&self.arguments.mongodb_uri, "mongodb://unused"),
                ..self.arguments.clone()
            };
            arguments.engines(&mut check)
        });
        let errors = together([
            named(customers_errors, "CUSTOMERS_ADDR", "CUSTOMERS_ADMIN_ADDR"),
            named(orders_errors, "ORDERS_ADDR", "ORDERS_ADMIN_ADDR"),
            check.errors(),
        ]);
        match (customers, orders, engines) {
            (Some(customers), Some(orders), engines) if errors.is_empty() => {
                let engines = engines.flatten();
                let default = if demo { ".data/demo" } else { ".data" };
                Ok(StackSettings {
                    customers,
                    orders,
                    engines: Engines {
                        kafka: engines.clone().filter(|_| kafka),
                        mongo: engines.filter(|_| mongo),
                    },
                    data_dir: self.data_dir.clone().unwrap_or_else(|| default.into()),
                })
            }
            _ => Err(errors),
        }
    }
}

/// A service's addresses have names of their own here.
fn named(
    mut errors: Vec<SettingError>,
    http_addr: &'static str,
    admin_addr: &'static str,
) -> Vec<SettingError> {
    for error in &mut errors {
        error.name = match error.name {
            "HTTP_ADDR" => http_addr,
            "ADMIN_ADDR" => admin_addr,
            other => other,
        };
    }
    errors
}

/// What both services share is wrong once, not twice.
fn together(errors: [Vec<SettingError>; 3]) -> Vec<SettingError> {
    let mut all: Vec<SettingError> = Vec::new();
    for error in errors.into_iter().flatten() {
        if !all.contains(&error) {
            all.push(error);
        }
    }
    all
}
