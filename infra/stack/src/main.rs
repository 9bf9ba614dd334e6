//! `cargo run --release`: the services. `-- demo`: the same, playing four stories. `-- parked …`: asks
//! the services that run.

use std::process::ExitCode;

use anyhow::Context;
use shared::{
    event_log::{Tail, TailFrom},
    logging,
    operator::Parked,
    program::{StopSignals, fail, refuse, until_stopped},
};
use stack::{
    demo,
    settings::{Command, Program, StackSettings},
    system::{System, start_system},
};

fn main() -> ExitCode {
    let program = Program::parse();
    let settings = match program.check() {
        Ok(settings) => settings,
        Err(errors) => return refuse("stack", &errors),
    };
    let first = settings.services.first().expect("there are services").settings();
    match program.command() {
        Some(Command::Parked(parked)) => parked_at_each(parked, &settings),
        Some(Command::Demo) => {
            // The demo tells its stories itself.
            logging::start(first.log_format, log::LevelFilter::Error);
            actix::System::new().block_on(play(&settings))
        }
        None => {
            logging::start(first.log_format, log::LevelFilter::Info);
            actix::System::new().block_on(run(&settings))
        }
    }
}

async fn run(settings: &StackSettings) -> ExitCode {
    let signals = StopSignals::listen();
    match start_system(settings).await {
        Ok(system) => {
            print!("{}", system.welcome());
            until_stopped(system.services, signals).await
        }
        Err(error) => fail(&format!("{error:#}")),
    }
}

/// Asks one service after the other. A record may be parked at one of them or at several.
fn parked_at_each(parked: &Parked, settings: &StackSettings) -> ExitCode {
    let mut code = ExitCode::FAILURE;
    for service in &settings.services {
        println!("{}:", service.name());
        if parked.run(service.settings().admin_addr) == ExitCode::SUCCESS {
            code = ExitCode::SUCCESS;
        }
    }
    code
}

async fn play(settings: &StackSettings) -> ExitCode {
    let mut signals = StopSignals::listen();
    let system = match start_system(settings).await {
        Ok(system) => system,
        Err(error) => return fail(&format!("{error:#}")),
    };
    println!("{}", system.description);
    let topic = settings.services[0].settings().topic.clone();
    let played = async {
        let tail = tail(&system, &topic).await?;
        let (customers, orders) = (system.addr_of(customers::NAME), system.addr_of(orders::NAME));
        tokio::task::spawn_blocking(move || demo::play(customers, orders, tail)).await?
    };
    let played = tokio::select! {
        biased;
        played = played => played,
        () = signals.next() => Err(anyhow::anyhow!("interrupted")),
    };
    system.stop().await;
    match played {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{error:#}")),
    }
}

/// What is announced from now on; the topic has to be there first.
async fn tail(system: &System, topic: &str) -> anyhow::Result<Tail> {
    let wait = async {
        loop {
            match system.log.tail(topic, TailFrom::End).await {
                Ok(tail) => return tail,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
            }
        }
    };
    tokio::time::timeout(demo::PATIENCE, wait)
        .await
        .context("the log is not there")
}
