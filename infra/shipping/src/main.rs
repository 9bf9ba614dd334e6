//! The Shipping service on Kafka and MongoDB.

fn main() -> std::process::ExitCode {
    shared::program::run::<shipping::Shipping>(env!("CARGO_PKG_VERSION"))
}
