//! What is drawn of runs.

mod cost;
mod growth;
mod latency;
mod time;

pub use cost::cost;
pub use growth::growth;
pub use latency::latency;
pub use time::{memory, time};

use super::svg::{Colour, Svg};

/// The width of every plot.
const WIDTH: f64 = 1000.0;

/// A drawing, the name of its file, and what is said about it.
pub struct Plot {
    /// Without `.svg`.
    pub file: String,
    /// Above it.
    pub heading: String,
    /// How to read it, in a sentence.
    pub hint: &'static str,
    /// Itself.
    pub svg: Svg,
}

/// The colour of a process: the same in every plot.
fn process(name: &str) -> Colour {
    ["mongod", "broker", "orders", "customers", "load"]
        .into_iter()
        .find(|known| *known == name)
        .unwrap_or("other")
}

/// The colour of the group at this place.
pub fn series(at: usize) -> Colour {
    ["s0", "s1", "s2", "s3", "s4", "s5"][at % 6]
}

/// A name as part of a file's name.
fn file_part(name: &str) -> String {
    name.chars()
        .map(|character| {
            if character.is_ascii_alphanumeric() {
                character
            } else {
                '-'
            }
        })
        .collect()
}
