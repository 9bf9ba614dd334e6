//! Settings that only Orders has.

use std::time::Duration;

use shared::{
    saga::Limits,
    settings::{Check, OwnSettings, duration, number},
};

/// The settings as they were given, unchecked.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Settings")]
pub struct Arguments {
    /// Orders that may be open, in all instances together, before further ones are answered 503
    #[arg(long, env = "MAX_OPEN_ORDERS", value_name = "N", default_value = "50000")]
    max_open_orders: String,
    /// Orders of one customer that may be open [default: a tenth of MAX_OPEN_ORDERS, at least 100]
    #[arg(long, env = "MAX_OPEN_ORDERS_PER_CUSTOMER", value_name = "N")]
    max_open_orders_per_customer: Option<String>,
    /// Age at which an order that is not final is announced again
    #[arg(
        long,
        env = "REANNOUNCE_AFTER",
        value_name = "DURATION",
        default_value = "30s"
    )]
    reannounce_after: String,
}

/// The checked settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Orders that may be open; a key is a customer.
    pub max_open_orders: Limits,
    /// Age at which an order that is not final is announced again.
    pub reannounce_after: Duration,
}

impl OwnSettings for Settings {
    type Arguments = Arguments;

    fn check(arguments: &Arguments, check: &mut Check) -> Option<Settings> {
        let all = check.read(
            "MAX_OPEN_ORDERS",
            number(&arguments.max_open_orders, 1, 10_000_000),
        );
        let of_customer = match &arguments.max_open_orders_per_customer {
            Some(given) => number(given, 1, 10_000_000),
            None => Ok((all.unwrap_or_default() / 10).max(100)),
        };
        let of_customer = check.read("MAX_OPEN_ORDERS_PER_CUSTOMER", of_customer);
        let reannounce_after = check.read("REANNOUNCE_AFTER", duration(&arguments.reannounce_after));
        Some(Settings {
            max_open_orders: Limits {
                all: all? as usize,
                of_key: of_customer? as usize,
            },
            reannounce_after: reannounce_after?,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn check(flags: &[&str]) -> Result<Settings, Vec<String>> {
        let program = Program::parse_from(std::iter::once(&"test").chain(flags));
        let mut check = Check::default();
        let settings = Settings::check(&program.arguments, &mut check);
        let names = check
            .errors()
            .into_iter()
            .map(|error| error.name.into_owned())
            .collect();
        settings.ok_or(names)
    }

    #[test]
    fn the_bound_for_one_customer_follows_the_one_for_all() {
        let given = check(&["--max-open-orders=4000"]).expect("it is right");
        assert_eq!(
            given.max_open_orders,
            Limits {
                all: 4_000,
                of_key: 400
            }
        );
        let unset = Settings::unset();
        assert_eq!(
            unset.max_open_orders,
            Limits {
                all: 50_000,
                of_key: 5_000
            }
        );
        assert_eq!(unset.reannounce_after, Duration::from_secs(30));
    }

    #[test]
    fn every_wrong_setting_is_named_at_once() {
        let wrong = [
            "MAX_OPEN_ORDERS",
            "MAX_OPEN_ORDERS_PER_CUSTOMER",
            "REANNOUNCE_AFTER",
        ];
        let flags = [
            "--max-open-orders=0",
            "--max-open-orders-per-customer=x",
            "--reannounce-after=0",
        ];
        assert_eq!(check(&flags).expect_err("all are wrong"), wrong);
    }
}
