//! When the orders of an open loop should be sent: a schedule that no answer can delay.

use std::time::Duration;

/// How arrivals are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Arrivals {
    /// Independent of each other, as those of many customers are.
    Poisson,
    /// At equal distances.
    Uniform,
}

/// Intended starts, one after another, as times since the begin.
pub struct Schedule {
    arrivals: Arrivals,
    random: fastrand::Rng,
    /// In seconds, so that the rate is met however long it runs.
    next: f64,
}

impl Schedule {
    /// Begins at time zero.
    pub fn new(arrivals: Arrivals, seed: u64) -> Schedule {
        Schedule {
            arrivals,
            random: fastrand::Rng::with_seed(seed),
            next: 0.0,
        }
    }

    /// The next intended start, at so many a second.
    pub fn next_start(&mut self, rate: f64) -> Duration {
        let gap = match self.arrivals {
            Arrivals::Uniform => 1.0,
            Arrivals::Poisson => -(1.0 - self.random.f64()).ln(),
        };
        self.next += gap / rate;
        Duration::from_secs_f64(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Arrivals in each of 1000 seconds.
    fn counts(arrivals: Arrivals, rate: f64) -> Vec<f64> {
        let mut schedule = Schedule::new(arrivals, 3);
        let mut counts = vec![0.0; 1000];
        while let Some(count) = counts.get_mut(schedule.next_start(rate).as_secs() as usize) {
            *count += 1.0;
        }
        counts
    }

    fn mean_and_variance(counts: &[f64]) -> (f64, f64) {
        let mean = counts.iter().sum::<f64>() / counts.len() as f64;
        let squares = counts.iter().map(|count| (count - mean).powi(2));
        (mean, squares.sum::<f64>() / counts.len() as f64)
    }

    #[test]
    fn both_meet_the_rate() {
        for arrivals in [Arrivals::Poisson, Arrivals::Uniform] {
            let (mean, _) = mean_and_variance(&counts(arrivals, 50.0));
            assert!((mean - 50.0).abs() < 1.0, "{arrivals:?}: {mean}");
        }
    }

    #[test]
    fn the_variance_of_poisson_arrivals_is_their_mean_and_that_of_uniform_ones_nothing() {
        let (mean, variance) = mean_and_variance(&counts(Arrivals::Poisson, 50.0));
        assert!((variance / mean - 1.0).abs() < 0.15, "{variance} of {mean}");
        let (_, variance) = mean_and_variance(&counts(Arrivals::Uniform, 50.0));
        assert!(variance < 1.0, "{variance}");
    }
}
