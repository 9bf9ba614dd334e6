//! Our binaries side by side on real engines, with a topic, groups and databases of their own.

use uuid::Uuid;

use super::{Client, Directory, Process};

/// Topic, groups and databases that no other test uses.
pub struct Deployment {
    /// What every instance is started with.
    pub environment: Vec<(&'static str, String)>,
    /// The topic; groups and databases are called after it too.
    pub name: String,
    directory: Directory,
}

/// One process of a service.
pub struct Instance {
    pub service: &'static str,
    pub process: Process,
    pub client: Client,
}

impl Deployment {
    pub fn new(kafka_brokers: &str, mongodb_uri: &str) -> Deployment {
        let name = format!("test-{}", Uuid::now_v7().simple());
        let environment = vec![
            ("KAFKA_BROKERS", kafka_brokers.to_owned()),
            ("MONGODB_URI", mongodb_uri.to_owned()),
            ("KAFKA_TOPIC", name.clone()),
            ("HTTP_ADDR", "127.0.0.1:0".to_owned()),
            ("REANNOUNCE_AFTER", "5s".to_owned()),
        ];
        Deployment {
            environment,
            name,
            directory: Directory::new(),
        }
    }

    /// Changes or adds a setting of the instances that are started from now on.
    pub fn set(mut self, name: &'static str, value: impl Into<String>) -> Deployment {
        self.environment.retain(|(known, _)| *known != name);
        self.environment.push((name, value.into()));
        self
    }

    /// The group and the database of a service.
    pub fn own(&self, service: &str) -> String {
        format!("{service}-{}", self.name)
    }

    /// Starts an instance that need not come to answer.
    pub fn launch(&self, service: &'static str) -> Process {
        let own = self.own(service);
        let mut environment: Vec<_> = self
            .environment
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        environment.extend([("KAFKA_GROUP", own.as_str()), ("MONGODB_DATABASE", own.as_str())]);
        Process::start(service, &[], &environment, &self.directory)
    }

    /// Starts an instance; it answers HTTP, but need not be ready.
    pub fn start(&self, service: &'static str) -> Instance {
        let mut process = self.launch(service);
        let url = process.says(" http=");
        Instance {
            service,
            process,
            client: Client::new(url),
        }
    }

    /// Kills an instance and starts another in its place.
    pub fn restart(&self, instance: &mut Instance) {
        instance.process.kill();
        *instance = self.start(instance.service);
    }
}

impl Instance {
    /// The sum of a metric over all its labels that begin like this, such as `name{label="value"`.
    pub fn counted(&self, metric: &str) -> u64 {
        let (status, text) = self.client.get("/metrics");
        assert_eq!(status, 200);
        let text = text.as_str().unwrap_or_default();
        let values = text
            .lines()
            .filter(|line| line.starts_with(metric))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum::<f64>() as u64
    }

    /// Why `ready` says no; nothing where it says yes.
    pub fn reasons(&self) -> String {
        match self.client.get("/health/ready") {
            (200, _) => String::new(),
            (_, health) => health.to_string(),
        }
    }
}
