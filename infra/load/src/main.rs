//! `cargo run --release -p load`
fn main() {}
