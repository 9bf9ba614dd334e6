//! The whole on the embedded default, as a user starts it.

use std::path::Path;

use super::{Client, Directory, Process};

/// Both services in one process, on free ports.
pub struct Stack {
    pub process: Process,
    pub customers: Client,
    pub orders: Client,
}

impl Stack {
    /// Starts it; both services answer HTTP, but need not be ready.
    pub fn start(data: &Path, environment: &[(&str, &str)], directory: &Directory) -> Stack {
        let (data, any) = (data.display().to_string(), "127.0.0.1:0");
        let arguments = ["--data-dir", &data, "--customers-addr", any, "--orders-addr", any];
        let mut process = Process::start("stack", &arguments, environment, directory);
        let customers = Client::new(process.says("customers  "));
        let orders = Client::new(process.says("orders     "));
        Stack {
            process,
            customers,
            orders,
        }
    }

    /// Waits until both are ready.
    pub fn ready(&self) {
        self.customers.ready();
        self.orders.ready();
    }
}
