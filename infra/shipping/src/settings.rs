//! Settings that only Shipping has.

use shared::settings::{Check, OwnSettings};

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Settings")]
pub struct Settings {
    /// What tracking numbers begin with: 1 to 5 capital letters
    #[arg(long, env = "TRACKING_PREFIX", value_name = "LETTERS", default_value = "SHP")]
    pub tracking_prefix: String,
}

impl OwnSettings for Settings {
    type Arguments = Settings;

    fn check(given: &Settings, check: &mut Check) -> Option<Settings> {
        let prefix = &given.tracking_prefix;
        let right = (1..=5).contains(&prefix.len()) && prefix.bytes().all(|byte| byte.is_ascii_uppercase());
        let wrong = || format!("is {prefix:?}: use 1 to 5 capital letters");
        check.read("TRACKING_PREFIX", right.then(|| given.clone()).ok_or_else(wrong))
    }
}
