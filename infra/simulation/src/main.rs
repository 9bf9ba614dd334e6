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

use clap::{Parser, Subcommand};
use simulation::{
    faults::{Fault, leave_out},
    many, mutants,
    run::{Outcome, run},
};

/// How often a line says how far it is.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Plays both services under faults, by seeds
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
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
    /// End, well, as soon as this invariant is broken, such as I15; not well if it never is
    #[arg(long, value_name = "INVARIANT", conflicts_with = "seed")]
    until: Option<String>,
    /// Leave these faults out, such as NoLeader,Zombie: which ones does a violation take?
    #[arg(long, value_name = "FAULTS", value_delimiter = ',')]
    without: Vec<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Build faults into copies of the sources, one at a time, and see whether they are found
    Mutants(mutants::Mutants),
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
    if let Some(Command::Mutants(mutants)) = arguments.command {
        return mutants.run(say);
    }
    let unknown = leave_out(&arguments.without);
    if !unknown.is_empty() {
        say(&format!("no such faults: {}", unknown.join(", ")));
        return ExitCode::FAILURE;
    }
    if let Some(invariant) = &arguments.until {
        return play_until(invariant, &arguments);
    }
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

/// Plays until this invariant is broken.
fn play_until(invariant: &str, arguments: &Arguments) -> ExitCode {
    let found = AtomicBool::new(false);
    let seeds = arguments.from..arguments.from + arguments.seeds;
    let threads = arguments.threads.unwrap_or_else(many::cores);
    let mut others = BTreeMap::<String, u64>::new();
    many::play(seeds, threads, &found, |outcome| {
        for violation in &outcome.violations {
            let broken = violation.invariant.to_string();
            if broken == invariant && !found.swap(true, Ordering::Relaxed) {
                say(&format!("seed {}: {violation}", outcome.seed));
            }
            others.entry(broken).or_insert(outcome.seed);
        }
    });
    if found.into_inner() {
        return ExitCode::SUCCESS;
    }
    say(&format!(
        "{invariant} holds in {} seeds; broken at seeds: {others:?}",
        arguments.seeds
    ));
    ExitCode::FAILURE
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
