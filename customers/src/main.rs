//! The Customers service on Kafka and MongoDB.

fn main() -> std::process::ExitCode {
    shared::program::run::<customers::Customers>(env!("CARGO_PKG_VERSION"))
}
