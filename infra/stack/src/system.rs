//! Starts the services on their ports.

use std::{fmt::Write, net::SocketAddr, sync::Arc};

use futures_util::future::join_all;
use shared::{
    event_log::EventLog,
    service::{Ports, Running},
};

use crate::settings::StackSettings;

/// The services, running.
pub struct System {
    /// The log that they share.
    pub log: Arc<dyn EventLog>,
    /// Each of them.
    pub services: Vec<Running>,
    /// On what they run, for people.
    pub description: String,
}

/// Starts the services. Needs an actix system.
pub async fn start_system(settings: &StackSettings) -> anyhow::Result<System> {
    let (engines, data) = (&settings.engines, &settings.data_dir);
    let log = engines.log(data)?;
    let mut services = Vec::new();
    for service in &settings.services {
        let ports = Ports {
            log: log.clone(),
            store: engines.store(data, &service.settings().database).await?,
        };
        services.push(service.start(ports).await?);
    }
    Ok(System {
        log,
        services,
        description: engines.describe(data),
    })
}

impl System {
    /// Where a service answers HTTP.
    pub fn addr_of(&self, name: &str) -> SocketAddr {
        let service = self.services.iter().find(|service| service.name() == name);
        service.expect("a service of the whole").http_addr
    }

    /// Stops all of them, finishing what is under way.
    pub async fn stop(self) {
        join_all(self.services.into_iter().map(Running::stop)).await;
    }

    /// What runs, and a first request to copy.
    pub fn welcome(&self) -> String {
        let mut text = String::new();
        for service in &self.services {
            let (name, addr) = (service.name(), service.http_addr);
            let _ = writeln!(text, "{name:<10} http://{addr}  (/docs, /health/ready, /metrics)");
        }
        let operators = self.services.iter();
        let operators =
            operators.map(|service| format!("http://{} ({})", service.admin_addr, service.name()));
        let operators = operators.collect::<Vec<_>>().join(", ");
        let (customers, orders) = (self.addr_of(customers::NAME), self.addr_of(orders::NAME));
        let customer = "b3d27f9b-d21d-327c-164e-7fb6776f87b0";
        let json = "-H 'content-type: application/json'";
        let _ = write!(
            text,
            "operators  {operators}\n\
             {}\n\n\
             A customer, and an order that is shipped:\n\
             \u{20} curl -s http://{customers}/api/customers {json} \\\n\
             \u{20}      -d '{{\"id\": \"{customer}\", \"name\": \"Ada\", \"creditLimit\": 1000}}'\n\
             \u{20} curl -s 'http://{orders}/api/orders?wait=2s' {json} \\\n\
             \u{20}      -d '{{\"customerId\": \"{customer}\", \"amount\": 800}}'\n\n\
             Ctrl-C stops.\n",
            self.description
        );
        text
    }
}
