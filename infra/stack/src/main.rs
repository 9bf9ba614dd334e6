//! `cargo run --release`: both services. `-- demo`: the same, playing four stories.

use std::process::ExitCode;

use anyhow::Context;
use shared::{
    event_log::TailFrom,
    logging,
    program::{fail, refuse, until_stopped},
};
use stack::{
    demo,
    settings::{Command, Program, StackSettings},
    system::{System, start_system},
};

fn main() -> ExitCode {
    let program = Program::parse_all();
    let settings = match program.check() {
        Ok(settings) => settings,
        Err(errors) => return refuse("stack", &errors),
    };
    let demo = program.command == Some(Command::Demo);
    // The demo tells its stories itself.
    let ours = if demo {
        log::LevelFilter::Error
    } else {
        log::LevelFilter::Info
    };
    logging::start(settings.orders.log_format, ours);
    actix::System::new().block_on(async move {
        let system = match start_system(&settings).await {
            Ok(system) => system,
            Err(error) => return fail(&format!("{error:#}")),
        };
        if demo {
            return play(system, &settings).await;
        }
        print!("{}", system.welcome());
        until_stopped(vec![system.orders, system.customers]).await
    })
}

async fn play(system: System, settings: &StackSettings) -> ExitCode {
    println!("{}", system.description);
    let played = async {
        let tail = tail(&system, settings).await?;
        let (customers, orders) = (system.customers_addr(), system.orders_addr());
        tokio::task::spawn_blocking(move || demo::play(customers, orders, tail)).await?
    };
    let played = tokio::select! {
        biased;
        played = played => played,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    tokio::join!(system.orders.stop(), system.customers.stop());
    match played {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{error:#}")),
    }
}

/// What is announced from now on; the topic has to be there first.
async fn tail(system: &System, settings: &StackSettings) -> anyhow::Result<shared::event_log::Tail> {
    let topic = &settings.orders.topic;
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
