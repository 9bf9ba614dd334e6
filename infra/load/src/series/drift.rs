//! Whether something creeps: the line through its values over time, by least squares.

use serde::{Deserialize, Serialize};

/// What of a long run is looked at: by then caches are filled and pools have their size.
pub const LAST: f64 = 2.0 / 3.0;

/// How something has changed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// Its mean.
    pub mean: f64,
    /// By how much the line rises from the first to the last value.
    pub growth: f64,
}

impl Drift {
    /// Of `(time, value)`, in the order of time; nothing of fewer than three.
    pub fn of(points: &[(f64, f64)]) -> Option<Drift> {
        let (first, last) = (points.first()?.0, points.last()?.0);
        if points.len() < 3 || last <= first {
            return None;
        }
        let count = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
        let (at, value) = (mean(|point| point.0), mean(|point| point.1));
        let (products, squares) = points.iter().fold((0.0, 0.0), |(products, squares), point| {
            let apart = point.0 - at;
            (products + apart * (point.1 - value), squares + apart * apart)
        });
        Some(Drift {
            mean: value,
            growth: products / squares * (last - first),
        })
    }

    /// Growth as a share of the mean; of nothing at all, nothing.
    pub fn share(&self) -> f64 {
        if self.mean == 0.0 {
            0.0
        } else {
            self.growth / self.mean
        }
    }

    /// Whether it grows by no more than this share, or by no more than what is too little to matter.
    pub fn is_flat(&self, share: f64, too_little: f64) -> bool {
        self.growth <= too_little || self.share() <= share
    }
}

/// The last part of a run.
pub fn last_part<T>(all: &[T]) -> &[T] {
    let skipped = (all.len() as f64 * (1.0 - LAST)).round() as usize;
    all.get(skipped..).unwrap_or(&[])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(value: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
        (0..100).map(f64::from).map(|at| (at, value(at))).collect()
    }

    #[test]
    fn a_line_drifts_by_its_rise() {
        let drift = Drift::of(&line(|at| 100.0 + at)).unwrap();
        assert!((drift.growth - 99.0).abs() < 1e-9);
        assert!((drift.mean - 149.5).abs() < 1e-9);
        assert!(!drift.is_flat(0.1, 0.0) && drift.is_flat(0.7, 0.0));
        assert!(drift.is_flat(0.1, 100.0), "so little does not matter");
    }

    #[test]
    fn noise_around_a_level_is_flat_and_so_is_what_shrinks() {
        let noisy = Drift::of(&line(|at| 1000.0 + ((at * 7919.0) % 97.0))).unwrap();
        assert!(noisy.is_flat(0.02, 0.0), "{noisy:?}");
        assert!(Drift::of(&line(|at| 1000.0 - at)).unwrap().is_flat(0.0, 0.0));
    }

    #[test]
    fn of_nothing_or_of_zeros_nothing_drifts() {
        assert_eq!(Drift::of(&[]), None);
        assert_eq!(Drift::of(&[(1.0, 5.0), (1.0, 6.0), (1.0, 7.0)]), None);
        assert!(Drift::of(&line(|_| 0.0)).unwrap().is_flat(0.0, 0.0));
    }

    #[test]
    fn the_last_part_leaves_out_the_first_third() {
        let all: Vec<u32> = (0..9).collect();
        assert_eq!(last_part(&all), [3, 4, 5, 6, 7, 8]);
        assert!(last_part::<u32>(&[]).is_empty());
    }
}
