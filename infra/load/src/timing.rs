//! Latencies, in a histogram that keeps three digits of each.

use std::{fmt::Write as _, time::Duration};

use hdrhistogram::Histogram;

use crate::run::Latency;

/// The longest that is told apart: longer than any run waits.
const LONGEST: Duration = Duration::from_secs(3600);
/// Percentiles of a curve: halving what is left, as the loss of detail goes.
const CURVE: [f64; 26] = [
    0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 75.0, 80.0, 85.0, 90.0, 92.5, 95.0, 96.0, 97.0, 98.0,
    99.0, 99.5, 99.75, 99.9, 99.95, 99.99, 99.995, 99.999, 100.0,
];

/// Some latencies.
pub struct Timing(Histogram<u64>);

impl Default for Timing {
    fn default() -> Timing {
        let longest = LONGEST.as_micros() as u64;
        Timing(Histogram::new_with_bounds(1, longest, 3).expect("bounds and digits are in range"))
    }
}

impl Timing {
    /// One more.
    pub fn record(&mut self, took: Duration) {
        self.0
            .saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Begins anew.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// In milliseconds; `percentile` from 0 to 100.
    pub fn percentile(&self, percentile: f64) -> f64 {
        self.0.value_at_quantile(percentile / 100.0) as f64 / 1000.0
    }

    /// In short.
    pub fn latency(&self) -> Latency {
        let curve = match self.0.len() {
            0 => Vec::new(),
            _ => CURVE.iter().map(|at| (*at, self.percentile(*at))).collect(),
        };
        Latency {
            count: self.0.len(),
            p50: self.percentile(50.0),
            p90: self.percentile(90.0),
            p99: self.percentile(99.0),
            p999: self.percentile(99.9),
            max: self.0.max() as f64 / 1000.0,
            curve,
        }
    }

    /// The percentile distribution in the text format of HdrHistogram (`.hgrm`), in milliseconds, as
    /// its plotters read it.
    pub fn distribution(&self) -> String {
        let mut text = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
        let mut count = 0;
        for step in self.0.iter_quantiles(5) {
            count += step.count_since_last_iteration();
            let (value, quantile) = (
                step.value_iterated_to() as f64 / 1000.0,
                step.quantile_iterated_to(),
            );
            let _ = match 1.0 - quantile {
                left if left > 0.0 => writeln!(
                    text,
                    "{value:12.3} {quantile:14.12} {count:10} {:14.2}",
                    1.0 / left
                ),
                _ => writeln!(text, "{value:12.3} {quantile:14.12} {count:10}            inf"),
            };
        }
        let _ = write!(
            text,
            "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]\n#[Max     = {:12.3}, Total count    = {:12}]\n",
            self.0.mean() / 1000.0,
            self.0.stdev() / 1000.0,
            self.0.max() as f64 / 1000.0,
            self.0.len()
        );
        text
    }
}
