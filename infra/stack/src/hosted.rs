//! A service as the whole sees it: its name, its settings, and how it is started.

use std::marker::PhantomData;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use futures_util::future::LocalBoxFuture;
use shared::{
    environment::Environment,
    service::{Ports, Running, Service, StartError, start},
    settings::{Arguments, Check, OwnSettings, ServiceSettings},
};

/// The services of the whole, in the order in which they are started.
pub const SERVICES: &[&dyn Hosted] = &[
    &Host::<customers::Customers>::NEW,
    &Host::<orders::Orders>::NEW,
    &Host::<shipping::Shipping>::NEW,
];

/// Started only where it is asked for: an example.
pub const SHIPPING: &str = <shipping::Shipping as Service>::NAME;

/// A service that can be a part of the whole.
pub trait Hosted: Sync {
    /// Its name.
    fn name(&self) -> &'static str;
    /// Adds its addresses and its own settings to the command line.
    fn augment(&self, command: Command) -> Command;
    /// Checks its settings; what is wrong is noted under the name that it has here. `on_free_ports`:
    /// its addresses do not matter.
    fn check(
        &self,
        matches: &ArgMatches,
        arguments: &Arguments,
        on_free_ports: bool,
        check: &mut Check,
    ) -> Option<Box<dyn Checked>>;
}

/// A service whose settings are right.
pub trait Checked: Send {
    /// Its name.
    fn name(&self) -> &'static str;
    /// Its settings, without those that only it has.
    fn settings(&self) -> &ServiceSettings;
    /// Starts it.
    fn start(&self, ports: Ports) -> LocalBoxFuture<'_, Result<Running, StartError>>;
}

/// A service of this type.
struct Host<S>(PhantomData<fn() -> S>);

impl<S> Host<S> {
    const NEW: Host<S> = Host(PhantomData);
}

struct Right<S: Service> {
    settings: ServiceSettings,
    own: S::Settings,
}

type Own<S> = <<S as Service>::Settings as OwnSettings>::Arguments;

/// The names of its addresses among the settings of the whole.
fn addresses(service: &str) -> [String; 2] {
    let service = service.to_ascii_uppercase();
    [format!("{service}_ADDR"), format!("{service}_ADMIN_ADDR")]
}

fn given(matches: &ArgMatches, id: &str) -> Option<String> {
    matches.get_one::<String>(id).cloned()
}

impl<S: Service> Hosted for Host<S> {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn augment(&self, mut command: Command) -> Command {
        let [http, admin] = addresses(S::NAME);
        let name = S::NAME;
        let about = [
            format!("Address at which {name} answers HTTP"),
            format!("Address at which {name} answers operators"),
        ];
        let defaults = [S::DEFAULTS.http_addr, S::DEFAULTS.admin_addr];
        for ((id, about), default) in [http, admin].into_iter().zip(about).zip(defaults) {
            let flag = id.to_ascii_lowercase().replace('_', "-");
            let argument = Arg::new(id.clone())
                .long(flag)
                .env(id)
                .value_name("ADDR")
                .default_value(default)
                .help(about);
            command = command.arg(argument);
        }
        // Two services may have the same setting: then it is that of both.
        let own = Own::<S>::augment_args(Command::new(name));
        for argument in own.get_arguments() {
            if command
                .get_arguments()
                .all(|known| known.get_id() != argument.get_id())
            {
                command = command.arg(argument.clone());
            }
        }
        command
    }

    fn check(
        &self,
        matches: &ArgMatches,
        arguments: &Arguments,
        on_free_ports: bool,
        check: &mut Check,
    ) -> Option<Box<dyn Checked>> {
        let names = addresses(S::NAME);
        let [http_addr, admin_addr] = names.each_ref().map(|name| match on_free_ports {
            true => Some("127.0.0.1:0".to_owned()),
            false => given(matches, name),
        });
        let arguments = Arguments {
            http_addr,
            admin_addr,
            kafka_group: None,
            mongodb_database: None,
            ..arguments.clone()
        };
        let mut of_service = Check::default();
        let settings = arguments.service(S::DEFAULTS, &mut of_service);
        let own = Own::<S>::from_arg_matches(matches).unwrap_or_else(|error| error.exit());
        let own = S::Settings::check(&own, &mut of_service);
        check.take(of_service, |name| match name {
            "HTTP_ADDR" => Some(names[0].clone()),
            "ADMIN_ADDR" => Some(names[1].clone()),
            _ => None,
        });
        Some(Box::new(Right::<S> {
            settings: settings?,
            own: own?,
        }))
    }
}

impl<S: Service> Checked for Right<S> {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn settings(&self) -> &ServiceSettings {
        &self.settings
    }

    fn start(&self, ports: Ports) -> LocalBoxFuture<'_, Result<Running, StartError>> {
        Box::pin(start::<S>(&self.settings, &self.own, ports, Environment::real()))
    }
}
