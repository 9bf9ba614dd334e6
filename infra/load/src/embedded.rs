//! Both services in this process, on threads of their own.

use std::{path::Path, sync::Arc, thread::JoinHandle};

use anyhow::{Context, anyhow};
use shared::event_log::EventLog;
use stack::{
    engines::Engines,
    settings::{Program, StackSettings},
    system::start_system,
};
use tokio::sync::oneshot;

/// The services; they stop when this is dropped.
pub struct Embedded {
    /// Where Orders answers.
    pub orders: String,
    /// Where Customers answers.
    pub customers: String,
    /// Their log.
    pub log: Arc<dyn EventLog>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Embedded {
    /// Starts them on this folder, and returns when they answer. `environment`: their settings.
    pub fn start(data: &Path, environment: &[(String, String)]) -> anyhow::Result<Embedded> {
        let settings = settings(data, environment)?;
        let (tell, told) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("services".to_owned())
            .spawn(move || {
                actix::System::new().block_on(async move {
                    let system = match start_system(&settings).await {
                        Ok(system) => system,
                        Err(error) => {
                            let _ = tell.send(Err(error));
                            return;
                        }
                    };
                    let _ = tell.send(Ok((
                        system.addr_of(orders::NAME),
                        system.addr_of(customers::NAME),
                        system.log.clone(),
                    )));
                    // Whether told to, or left: both mean the end.
                    let _ = stopped.await;
                    system.stop().await;
                });
            })?;
        let (orders, customers, log) = told
            .recv()
            .map_err(|_| anyhow!("the thread of the services ended"))
            .flatten()
            .context("the services cannot be started")?;
        Ok(Embedded {
            orders: format!("http://{orders}"),
            customers: format!("http://{customers}"),
            log,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Embedded {
    /// Whether they have stopped, whyever.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // One that panicked has told so.
            let _ = thread.join();
        }
    }
}

fn settings(data: &Path, environment: &[(String, String)]) -> anyhow::Result<StackSettings> {
    let anywhere = "127.0.0.1:0".to_owned();
    let mut arguments = vec!["stack".to_owned()];
    for name in [
        "customers-addr",
        "orders-addr",
        "customers-admin-addr",
        "orders-admin-addr",
    ] {
        arguments.extend([format!("--{name}"), anywhere.clone()]);
    }
    arguments.extend(["--data-dir".to_owned(), data.display().to_string()]);
    for (name, value) in environment.iter().filter(|(name, _)| name != "RUST_LOG") {
        // Each variable is a flag as well.
        arguments.push(format!("--{}", name.to_ascii_lowercase().replace('_', "-")));
        arguments.push(value.clone());
    }
    let program = Program::parse_from(arguments.iter().map(String::as_str))?;
    let settings = program.check().map_err(|errors| {
        let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
        anyhow!(lines.join("; "))
    })?;
    Ok(StackSettings {
        // Whatever the environment says.
        engines: Engines::default(),
        ..settings
    })
}
