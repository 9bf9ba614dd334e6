//! The Orders service on Kafka and MongoDB.

fn main() -> std::process::ExitCode {
    shared::program::run::<orders::Orders>(env!("CARGO_PKG_VERSION"))
}
