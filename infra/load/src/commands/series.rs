//! `load table`, `load growth`, `load soak`.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, ensure};
use clap::Args;
use fleet::Profile;
use load::{
    report,
    series::{self, Ground, GrowthSettings, SoakSettings, TableSettings},
};

use crate::{absolute, duration, rate, stop_on_signal};

/// Where binaries are and the report goes.
#[derive(Args)]
pub struct At {
    /// Where the result goes [default: target/load/<series>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Where the binaries of the services are [default: built]
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
}

#[derive(Args)]
pub struct TableArguments {
    /// How often everything is measured, in turn
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=50))]
    pairs: u8,
    /// How long each run is
    #[arg(long = "for", value_name = "TIME", default_value = "10s", value_parser = duration)]
    length: Duration,
    #[command(flatten)]
    at: At,
}

#[derive(Args)]
pub struct GrowthArguments {
    /// How often each axis is measured, from its first point to its last
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=50))]
    rounds: u8,
    /// How long each run is
    #[arg(long = "for", value_name = "TIME", default_value = "10s", value_parser = duration)]
    length: Duration,
    #[command(flatten)]
    at: At,
}

#[derive(Args)]
pub struct SoakArguments {
    /// How long
    #[arg(long = "for", value_name = "TIME", default_value = "30m", value_parser = duration)]
    length: Duration,
    /// Orders a second [default: half of what a short closed loop reaches]
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    #[command(flatten)]
    at: At,
}

/// Measures P1 to P9, and tells. Fails softly where one of them is not reached.
pub fn table(arguments: &TableArguments) -> anyhow::Result<ExitCode> {
    let ground = ground("table", &arguments.at, true)?;
    let settings = TableSettings {
        pairs: arguments.pairs.into(),
        length: arguments.length,
    };
    let (figures, page) = series::table(&settings, &ground)?;
    let runs = report::read(&ground.folder)?;
    print!("{}", std::fs::read_to_string(page.with_file_name("table.md"))?);
    eprintln!("load: all of it in {}", page.display());
    Ok(code(
        figures.iter().all(|figure| figure.reached) && runs.iter().all(|run| run.faults.is_empty()),
    ))
}

/// Measures while things grow, and tells.
pub fn growth(arguments: &GrowthArguments) -> anyhow::Result<ExitCode> {
    let ground = ground("growth", &arguments.at, false)?;
    let settings = GrowthSettings {
        rounds: arguments.rounds.into(),
        length: arguments.length,
    };
    let page = series::growth(&settings, &ground)?;
    print!("{}", std::fs::read_to_string(page.with_file_name("growth.md"))?);
    eprintln!("load: all of it in {}", page.display());
    let runs = report::read(&ground.folder)?;
    Ok(code(runs.iter().all(|run| run.faults.is_empty())))
}

/// Measures for long, and tells what creeps.
pub fn soak(arguments: &SoakArguments) -> anyhow::Result<ExitCode> {
    let ground = ground("soak", &arguments.at, false)?;
    let settings = SoakSettings {
        length: arguments.length,
        rate: arguments.rate,
    };
    let (run, verdict, page) = series::soak(&settings, &ground)?;
    print!(
        "{}\n{}",
        report::table(std::slice::from_ref(&run)),
        verdict.told()
    );
    eprintln!("load: all of it in {}", page.display());
    Ok(code(verdict.is_flat() && run.faults.is_empty()))
}

fn code(good: bool) -> ExitCode {
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The services are measured as they are deployed; the embedded default as it is run from here.
fn ground(series: &str, at: &At, needs_stack: bool) -> anyhow::Result<Ground> {
    let stop = std::sync::Arc::default();
    stop_on_signal(std::sync::Arc::clone(&stop))?;
    let binaries = match &at.binaries {
        Some(binaries) => absolute(binaries)?,
        None => fleet::service_binaries(Profile::Dist, &[])?,
    };
    let stack = Profile::Release.folder()?.join("stack");
    if needs_stack {
        fleet::build(Profile::Release, &["load", "stack"])?;
        ensure!(
            stack.exists(),
            "{} is missing: cargo build --release",
            stack.display()
        );
    }
    let folder = match &at.out {
        Some(folder) => {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
            folder.clone()
        }
        None => fleet::fresh_folder("load", series)?,
    };
    Ok(Ground {
        binaries,
        stack,
        folder: absolute(&folder)?,
        stop,
    })
}
