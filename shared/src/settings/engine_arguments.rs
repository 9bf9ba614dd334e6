//! The settings of the real engines.

use clap::Args;

/// The settings as they were given, unchecked.
#[derive(Debug, Clone, Default, Args)]
#[group(skip)]
#[command(next_help_heading = "Engines")]
pub struct EngineArguments {
    /// Kafka's address, or several separated by commas
    #[arg(long, env = "KAFKA_BROKERS", value_name = "HOST:PORT,…")]
    pub kafka_brokers: Option<String>,
    /// How the group is coordinated: classic, or consumer (KIP-848)
    #[arg(
        long,
        env = "KAFKA_GROUP_PROTOCOL",
        value_name = "NAME",
        default_value = "classic"
    )]
    pub kafka_group_protocol: String,
    /// Further settings of the Kafka client, such as `socket.keepalive.enable=true,fetch.min.bytes=1`.
    /// A value with a comma stands in double quotes, or has a backslash before the comma. Refused is
    /// what would break a guarantee
    #[arg(long, env = "KAFKA_OPTIONS", value_name = "NAME=VALUE,…")]
    pub kafka_options: Option<String>,
    /// MongoDB's address; it has to be a replica set
    #[arg(long, env = "MONGODB_URI", value_name = "URI")]
    pub mongodb_uri: Option<String>,
}
