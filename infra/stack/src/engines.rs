//! What the services run on: Kafka and MongoDB where these are given and the program was built with
//! them, else the embedded engines.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use shared::{
    document_store::{DocumentStore, embedded::EmbeddedStore},
    event_log::{EventLog, embedded::EmbeddedLog},
    settings::{Check, EngineArguments},
};

/// The real engines that are to be used.
#[derive(Clone, Default)]
pub struct Engines {
    #[cfg(feature = "engines")]
    real: real::Real,
}

/// Whether this address is given.
fn given(value: &Option<String>) -> bool {
    value.as_deref().is_some_and(|value| !value.trim().is_empty())
}

#[cfg(not(feature = "engines"))]
impl Engines {
    /// Checks the settings; there are no real engines in this build.
    pub fn check(arguments: &EngineArguments, check: &mut Check) -> Option<Engines> {
        let build = "is given, but this program was built without Kafka and MongoDB: use \
                     cargo run --release --features engines -- …";
        let wanted = [
            ("KAFKA_BROKERS", &arguments.kafka_brokers),
            ("MONGODB_URI", &arguments.mongodb_uri),
        ];
        let wanted = wanted.into_iter().filter(|(_, address)| given(address));
        let refused = wanted.map(|(name, _)| check.read::<()>(name, Err(build.to_owned())));
        (refused.count() == 0).then(Engines::default)
    }

    /// Opens the log.
    pub fn log(&self, data: &Path) -> anyhow::Result<Arc<dyn EventLog>> {
        embedded_log(data)
    }

    /// Opens a database.
    pub async fn store(&self, data: &Path, database: &str) -> anyhow::Result<Arc<dyn DocumentStore>> {
        embedded_store(data, database)
    }

    /// For people.
    pub fn describe(&self, data: &Path) -> String {
        let data = data.display();
        format!("log        embedded, in {data}/\ndatabases  embedded, in {data}/")
    }
}

fn embedded_log(data: &Path) -> anyhow::Result<Arc<dyn EventLog>> {
    let open = EmbeddedLog::open(data);
    Ok(Arc::new(
        open.with_context(|| format!("the log in {}", data.display()))?,
    ))
}

fn embedded_store(data: &Path, database: &str) -> anyhow::Result<Arc<dyn DocumentStore>> {
    let open = EmbeddedStore::open(data, database);
    let store = open.with_context(|| format!("the database {database} in {}", data.display()))?;
    Ok(Arc::new(store))
}

#[cfg(feature = "engines")]
mod real {
    use shared::{
        document_store::mongo::{MongoSettings, MongoStore},
        program::kafka,
        settings::EngineSettings,
    };

    use super::*;

    #[derive(Clone, Default)]
    pub struct Real {
        kafka: Option<EngineSettings>,
        mongo: Option<EngineSettings>,
    }

    impl Engines {
        /// Checks the settings of those that are given.
        pub fn check(arguments: &EngineArguments, check: &mut Check) -> Option<Engines> {
            let (kafka, mongo) = (given(&arguments.kafka_brokers), given(&arguments.mongodb_uri));
            if !kafka && !mongo {
                return Some(Engines::default());
            }
            // The other engine is not asked for, so it is not missing either.
            let filled = |value: &Option<String>, unused: &str| value.clone().or(Some(unused.to_owned()));
            let arguments = EngineArguments {
                kafka_brokers: filled(&arguments.kafka_brokers, "unused"),
                mongodb_uri: filled(&arguments.mongodb_uri, "mongodb://unused"),
                ..arguments.clone()
            };
            let settings = arguments.check(check)?;
            let real = Real {
                kafka: kafka.then(|| settings.clone()),
                mongo: mongo.then_some(settings),
            };
            Some(Engines { real })
        }

        /// Opens the log.
        pub fn log(&self, data: &Path) -> anyhow::Result<Arc<dyn EventLog>> {
            match &self.real.kafka {
                Some(engines) => Ok(Arc::new(kafka(engines, "stack").map_err(anyhow::Error::msg)?)),
                None => embedded_log(data),
            }
        }

        /// Opens a database.
        pub async fn store(&self, data: &Path, database: &str) -> anyhow::Result<Arc<dyn DocumentStore>> {
            match &self.real.mongo {
                Some(engines) => {
                    let mongo = MongoSettings::new(&engines.mongodb_uri, database);
                    Ok(Arc::new(MongoStore::new(mongo).await.context("MONGODB_URI")?))
                }
                None => embedded_store(data, database),
            }
        }

        /// For people.
        pub fn describe(&self, data: &Path) -> String {
            let data = data.display();
            let log = match &self.real.kafka {
                Some(engines) => format!("Apache Kafka at {}", engines.kafka_brokers),
                None => format!("embedded, in {data}/"),
            };
            let database = match &self.real.mongo {
                Some(_) => "MongoDB (MONGODB_URI)".to_owned(),
                None => format!("embedded, in {data}/"),
            };
            format!("log        {log}\ndatabases  {database}")
        }
    }
}
