//! Plays seeds: many of them, or one with everything that happens in it.

use std::{
    collections::BTreeMap,
    io::Write,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use simulation::{
    faults::Fault,
    many,
    run::{Outcome, run},
};

/// How often a line says how far it is.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Plays both services under faults, by seeds
#[derive(Parser)]
struct Arguments {
    /// Seeds to play
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Play this one only
    #[arg(long)]
    seed: Option<u64>,
    /// Tell what happens in it
    #[arg(long, requires = "seed")]
    timeline: bool,
    /// Threads to play on; all of the machine's by default
    #[arg(long)]
    threads: Option<usize>,
}

/// What all seeds came to.
#[derive(Default)]
struct Summary {
    seeds: u64,
    failed: Vec<u64>,
    orders: usize,
    duplicates: u64,
    recovery: (Duration, u64),
    faults: BTreeMap<Fault, u64>,
}

impl Summary {
    fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.orders += outcome.orders;
        self.duplicates += outcome.duplicates;
        self.recovery = self.recovery.max((outcome.recovery, outcome.seed));
        for (fault, count) in &outcome.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        if !outcome.violations.is_empty() {
            self.failed.push(outcome.seed);
        }
    }

    fn tell(&self, took: Duration) {
        let per_second = self.seeds as f64 / took.as_secs_f64();
        say(&format!(
            "{} seeds in {:.1} s ({per_second:.1} a second), {} failed",
            self.seeds,
            took.as_secs_f64(),
            self.failed.len()
        ));
        let (recovery, seed) = self.recovery;
        say(&format!(
            "{} orders; {} duplicates absorbed; longest recovery {recovery:?} (seed {seed})",
            self.orders, self.duplicates
        ));
        for (fault, count) in &self.faults {
            say(&format!("  {count:>9}  {fault:?}"));
        }
    }
}

fn say(text: &str) {
    // Whoever listened may be gone, as with `| head`.
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn tell(outcome: &Outcome) {
    outcome.lines.iter().for_each(|line| say(&line.to_string()));
    for violation in &outcome.violations {
        say(&format!("seed {}: {violation}", outcome.seed));
    }
    if !outcome.violations.is_empty() {
        say(&format!(
            "  step for step: cargo run -p simulation -- --seed {} --timeline",
            outcome.seed
        ));
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(seed) = arguments.seed {
        let outcome = run(seed, arguments.timeline);
        tell(&outcome);
        if outcome.violations.is_empty() {
            say(&format!("seed {seed}: all invariants hold"));
            return ExitCode::SUCCESS;
        }
        return ExitCode::FAILURE;
    }
    let stopped = Arc::new(AtomicBool::new(false));
    stop_on_signal(stopped.clone());
    let begin = Instant::now();
    let mut said = begin;
    let mut summary = Summary::default();
    let seeds = arguments.from..arguments.from + arguments.seeds;
    let threads = arguments.threads.unwrap_or_else(many::cores);
    many::play(seeds, threads, &stopped, |outcome| {
        summary.add(&outcome);
        tell(&outcome);
        if said.elapsed() >= SAY_EVERY {
            said = Instant::now();
            say(&format!(
                "{} of {} seeds, {} failed",
                summary.seeds,
                arguments.seeds,
                summary.failed.len()
            ));
        }
    });
    summary.tell(begin.elapsed());
    if summary.failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Ctrl-C: what is under way is finished, and told.
fn stop_on_signal(stopped: Arc<AtomicBool>) {
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let Ok(runtime) = runtime
            && runtime.block_on(tokio::signal::ctrl_c()).is_ok()
        {
            stopped.store(true, Ordering::Relaxed);
        }
    });
}
