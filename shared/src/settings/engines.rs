//! The checked settings of the real engines.

use super::EngineArguments;
use crate::{
    document_store::mongo::fitting_uri,
    event_log::kafka::{self, GroupProtocol},
    settings::Check,
};

/// The checked settings for a Kafka and a MongoDB.
#[derive(Clone)]
pub struct EngineSettings {
    /// Kafka's addresses.
    pub kafka_brokers: String,
    /// How groups are coordinated.
    pub group_protocol: GroupProtocol,
    /// Further settings of the client.
    pub kafka_options: Vec<(String, String)>,
    /// MongoDB's address.
    pub mongodb_uri: String,
}

impl EngineArguments {
    /// Options for the Kafka client; each that would break a guarantee is named.
    fn options(&self, check: &mut Check) -> Option<Vec<(String, String)>> {
        let options = kafka::read_options(self.kafka_options.as_deref().unwrap_or(""));
        let options = check.read("KAFKA_OPTIONS", options)?;
        let mut right = Some(());
        for (name, value) in &options {
            if let Some(reason) = kafka::refusal(name, value) {
                right = check.read(
                    "KAFKA_OPTIONS",
                    Err(format!("may not have {name}={value}: {reason}")),
                );
            }
        }
        right.map(|()| options)
    }

    /// Checks what Kafka and MongoDB need.
    pub fn check(&self, check: &mut Check) -> Option<EngineSettings> {
        let needed = |given: &Option<String>, what: &str| match given.as_deref().map(str::trim) {
            Some(given) if !given.is_empty() => Ok(given.to_owned()),
            _ => Err(format!("is missing: this service needs {what}")),
        };
        let kafka_brokers = check.read(
            "KAFKA_BROKERS",
            needed(&self.kafka_brokers, "a Kafka, for example 127.0.0.1:9092"),
        );
        let mongodb_uri = needed(
            &self.mongodb_uri,
            "a MongoDB replica set, for example mongodb://127.0.0.1:27017/?replicaSet=rs0",
        )
        .and_then(|uri| fitting_uri(&uri).map(|_| uri));
        let mongodb_uri = check.read("MONGODB_URI", mongodb_uri);
        let protocol = match self.kafka_group_protocol.to_ascii_lowercase().as_str() {
            "classic" => Ok(GroupProtocol::Classic),
            "consumer" => Ok(GroupProtocol::Consumer),
            other => Err(format!("is {other:?}: use classic or consumer")),
        };
        let group_protocol = check.read("KAFKA_GROUP_PROTOCOL", protocol);
        let kafka_options = self.options(check);
        Some(EngineSettings {
            kafka_brokers: kafka_brokers?,
            group_protocol: group_protocol?,
            kafka_options: kafka_options?,
            mongodb_uri: mongodb_uri?,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::settings::SettingError;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        arguments: EngineArguments,
    }

    fn check(flags: &[&str]) -> Vec<SettingError> {
        let arguments = Program::parse_from(std::iter::once(&"test").chain(flags)).arguments;
        let mut check = Check::default();
        assert!(arguments.check(&mut check).is_none());
        check.errors()
    }

    #[test]
    fn every_wrong_setting_is_named_at_once() {
        let errors = check(&["--kafka-group-protocol=old", "--mongodb-uri=postgres://x"]);
        let names: Vec<_> = errors.iter().map(|error| &*error.name).collect();
        assert_eq!(names, ["KAFKA_BROKERS", "MONGODB_URI", "KAFKA_GROUP_PROTOCOL"]);
    }

    #[test]
    fn every_option_of_kafka_that_would_break_a_guarantee_is_named_with_the_reason() {
        let errors = check(&[
            "--kafka-brokers=h:1",
            "--mongodb-uri=mongodb://h/?replicaSet=rs0",
            r#"--kafka-options=acks=1,sasl.password="a,b",enable.idempotence=false,linger.ms=5"#,
        ]);
        let errors: Vec<_> = errors.iter().map(SettingError::to_string).collect();
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(errors[0].starts_with("KAFKA_OPTIONS (--kafka-options) may not have acks=1: an event could"));
        assert!(
            errors[1].contains("enable.idempotence=false: a retry could"),
            "{errors:?}"
        );
        assert!(!errors.concat().contains("a,b"), "{errors:?}");
    }
}
