//! Starts both services on their ports.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use customers::Customers;
use orders::Orders;
use shared::{
    document_store::{
        DocumentStore,
        embedded::EmbeddedStore,
        mongo::{MongoSettings, MongoStore},
    },
    environment::Environment,
    event_log::{EventLog, embedded::EmbeddedLog},
    program::kafka,
    service::{Ports, Running, start},
};

use crate::settings::StackSettings;

/// Both services, running.
pub struct System {
    /// The log that they share.
    pub log: Arc<dyn EventLog>,
    /// Customers.
    pub customers: Running,
    /// Orders.
    pub orders: Running,
    /// On what they run, for people.
    pub description: String,
}

/// Starts both services. Needs an actix system.
pub async fn start_system(settings: &StackSettings) -> anyhow::Result<System> {
    let data = &settings.data_dir;
    let log: Arc<dyn EventLog> = match &settings.engines.kafka {
        Some(engines) => Arc::new(kafka(engines, "stack").map_err(anyhow::Error::msg)?),
        None => Arc::new(EmbeddedLog::open(data).with_context(|| format!("the log in {}", data.display()))?),
    };
    let customers = Ports {
        log: log.clone(),
        store: store(settings, &settings.customers.database).await?,
    };
    let orders = Ports {
        log: log.clone(),
        store: store(settings, &settings.orders.database).await?,
    };
    Ok(System {
        customers: start::<Customers>(&settings.customers, customers, Environment::real()).await?,
        orders: start::<Orders>(&settings.orders, orders, Environment::real()).await?,
        description: describe(settings),
        log,
    })
}

async fn store(settings: &StackSettings, database: &str) -> anyhow::Result<Arc<dyn DocumentStore>> {
    Ok(match &settings.engines.mongo {
        Some(engines) => {
            let mongo = MongoSettings::new(&engines.mongodb_uri, database);
            Arc::new(MongoStore::new(mongo).await.context("MONGODB_URI")?)
        }
        None => {
            let data = &settings.data_dir;
            let open = EmbeddedStore::open(data, database);
            Arc::new(open.with_context(|| format!("the database {database} in {}", data.display()))?)
        }
    })
}

fn describe(settings: &StackSettings) -> String {
    let data = settings.data_dir.display();
    let log = match &settings.engines.kafka {
        Some(engines) => format!("Apache Kafka at {}", engines.kafka_brokers),
        None => format!("embedded, in {data}/"),
    };
    let database = match &settings.engines.mongo {
        Some(_) => "MongoDB (MONGODB_URI)".to_owned(),
        None => format!("embedded, in {data}/"),
    };
    format!("log        {log}\ndatabases  {database}")
}

impl System {
    /// Where Customers answers.
    pub fn customers_addr(&self) -> SocketAddr {
        self.customers.http_addr
    }

    /// Where Orders answers.
    pub fn orders_addr(&self) -> SocketAddr {
        self.orders.http_addr
    }

    /// What runs, and a first request to copy.
    pub fn welcome(&self) -> String {
        let (customers, orders) = (self.customers_addr(), self.orders_addr());
        let customer = "b3d27f9b-d21d-327c-164e-7fb6776f87b0";
        let json = "-H 'content-type: application/json'";
        format!(
            "customers  http://{customers}  (/docs, /health/ready, /metrics)\n\
             orders     http://{orders}  (/docs, /health/ready, /metrics)\n\
             operators  http://{} (customers), http://{} (orders)\n\
             {}\n\n\
             A customer, and an order that is shipped:\n\
             \u{20} curl -s http://{customers}/api/customers {json} \\\n\
             \u{20}      -d '{{\"id\": \"{customer}\", \"name\": \"Ada\", \"creditLimit\": 1000}}'\n\
             \u{20} curl -s 'http://{orders}/api/orders?wait=2s' {json} \\\n\
             \u{20}      -d '{{\"customerId\": \"{customer}\", \"amount\": 800}}'\n\n\
             Ctrl-C stops.\n",
            self.customers.admin_addr, self.orders.admin_addr, self.description
        )
    }
}
