//! The subcommands beside `load run`.

pub mod floor;
pub mod series;
