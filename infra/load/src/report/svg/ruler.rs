//! Where a value stands along an axis, and which values are written beside it.

use super::super::number;

/// One axis: from 0 at its beginning to 1 at its end.
#[derive(Debug, Clone)]
pub struct Ruler {
    scale: Scale,
    low: f64,
    high: f64,
    /// Values that are marked, and what is written there; nothing where only a line is drawn.
    pub marks: Vec<(f64, String)>,
}

#[derive(Debug, Clone, Copy)]
enum Scale {
    Linear,
    Log,
    /// By the share of samples above: each step is a tenth of the samples of the one before.
    Percentile,
}

/// `log10` of one divided by the share of samples above a percentile: 0 → 0, 90 → 1, 99.9 → 3.
pub fn nines(percentile: f64) -> f64 {
    -(1.0 - percentile.clamp(0.0, 99.999_999) / 100.0).log10()
}

impl Scale {
    fn map(self, value: f64) -> f64 {
        match self {
            Scale::Linear => value,
            Scale::Log => value.max(f64::MIN_POSITIVE).log10(),
            Scale::Percentile => nines(value),
        }
    }
}

impl Ruler {
    /// From 0 to a round number that is not below `high`, with about `wanted` marks.
    pub fn linear(high: f64, wanted: usize, format: impl Fn(f64) -> String) -> Self {
        let high = if high.is_finite() && high > 0.0 { high } else { 1.0 };
        let step = round_up(high / wanted.max(1) as f64, &[1.0, 2.0, 2.5, 5.0, 10.0]);
        let steps = (high / step - 1e-9).ceil().max(1.0) as usize;
        let marks = (0..=steps)
            .map(|at| (at as f64 * step, number::tick(&format(at as f64 * step))))
            .collect();
        Self {
            scale: Scale::Linear,
            low: 0.0,
            high: step * steps as f64,
            marks,
        }
    }

    /// From a power of ten, its double or its half down to the next up; powers of ten are marked,
    /// those between too where there are few.
    pub fn log(low: f64, high: f64, format: impl Fn(f64) -> String) -> Self {
        let low = if low.is_finite() && low > 0.0 { low } else { 0.1 };
        let high = if high.is_finite() && high > low {
            high
        } else {
            low * 10.0
        };
        let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        let all: Vec<(f64, bool)> = (first..=last)
            .flat_map(|power| [1.0, 2.0, 5.0].map(|digit| (digit * 10f64.powi(power), digit == 1.0)))
            .collect();
        let below = |value: f64| value <= low * (1.0 + 1e-9);
        let above = |value: f64| value >= high * (1.0 - 1e-9);
        let low = all
            .iter()
            .rev()
            .find(|(value, _)| below(*value))
            .map_or(low, |(value, _)| *value);
        let high = all
            .iter()
            .find(|(value, _)| above(*value))
            .map_or(high, |(value, _)| *value);
        let few = (high / low).log10() < 2.5;
        let marks = all
            .into_iter()
            .filter(|(value, _)| (low * 0.999..=high * 1.001).contains(value))
            .map(|(value, power)| {
                (
                    value,
                    if power || few {
                        number::tick(&format(value))
                    } else {
                        String::new()
                    },
                )
            })
            .collect();
        Self {
            scale: Scale::Log,
            low,
            high,
            marks,
        }
    }

    /// From the fastest sample to the percentile `high`.
    pub fn percentile(high: f64) -> Self {
        let high = if high.is_finite() {
            high.clamp(90.0, 99.999)
        } else {
            99.0
        };
        let marks = [0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999]
            .into_iter()
            .filter(|mark| nines(*mark) <= nines(high) + 1e-6)
            .map(|mark| {
                (
                    mark,
                    if mark == 0.0 {
                        "min".to_owned()
                    } else {
                        format!("{mark} %")
                    },
                )
            })
            .collect();
        Self {
            scale: Scale::Percentile,
            low: 0.0,
            high,
            marks,
        }
    }

    /// Seconds from 0 to exactly `high`, marked in a unit that suits it.
    pub fn time(high: f64) -> Self {
        let high = if high.is_finite() && high > 0.0 { high } else { 1.0 };
        let (unit, name) = match high {
            high if high > 3.0 * 3600.0 => (3600.0, "h"),
            high if high > 180.0 => (60.0, "min"),
            _ => (1.0, "s"),
        };
        let step =
            round_up(high / unit / 8.0, &[1.0, 2.0, 5.0, 10.0]).max(if unit == 1.0 { 0.0 } else { 1.0 });
        let marks = (0..)
            .map(|at| f64::from(at) * step)
            .take_while(|mark| mark * unit <= high * 1.000_001)
            .map(|mark| {
                (
                    mark * unit,
                    format!("{} {name}", (mark * 1000.0).round() / 1000.0),
                )
            })
            .collect();
        Self {
            scale: Scale::Linear,
            low: 0.0,
            high,
            marks,
        }
    }

    /// Through given places, each marked; by powers where they span a decade or more.
    pub fn places(places: &[(f64, String)]) -> Self {
        let finite = || {
            places
                .iter()
                .map(|place| place.0)
                .filter(|place| place.is_finite())
        };
        let (low, high) = finite().fold((f64::MAX, f64::MIN), |(low, high), at| {
            (low.min(at), high.max(at))
        });
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        let (scale, low, high) = if low == high {
            (Scale::Linear, low - 1.0, high + 1.0)
        } else if low > 0.0 && high / low >= 10.0 {
            (Scale::Log, low, high)
        } else {
            (Scale::Linear, low, high)
        };
        Self {
            scale,
            low,
            high,
            marks: places.to_vec(),
        }
    }

    /// Where a value stands: 0 at the beginning, 1 at the end; what is beyond stands at the end.
    pub fn place(&self, value: f64) -> f64 {
        let (low, high) = (self.scale.map(self.low), self.scale.map(self.high));
        ((self.scale.map(value) - low) / (high - low)).clamp(0.0, 1.0)
    }
}

/// The smallest of the digits times a power of ten that is not below.
fn round_up(value: f64, digits: &[f64]) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    digits
        .iter()
        .map(|digit| digit * power)
        .find(|step| *step >= value * (1.0 - 1e-9))
        .unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ruler: &Ruler) -> Vec<&str> {
        ruler.marks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn each_nine_is_a_step() {
        for (percentile, step) in [(0.0, 0.0), (90.0, 1.0), (99.0, 2.0), (99.9, 3.0), (99.99, 4.0)] {
            assert!((nines(percentile) - step).abs() < 1e-9, "{percentile}");
        }
        assert!(nines(100.0).is_finite());
        let ruler = Ruler::percentile(99.99);
        assert_eq!(
            labels(&ruler),
            ["min", "50 %", "90 %", "99 %", "99.9 %", "99.99 %"]
        );
        assert!((ruler.place(99.0) - 0.5).abs() < 1e-9);
        assert_eq!((ruler.place(0.0), ruler.place(100.0)), (0.0, 1.0));
    }

    #[test]
    fn a_linear_axis_ends_at_a_round_number() {
        let ruler = Ruler::linear(2034.0, 4, |value| format!("{value}"));
        assert_eq!(labels(&ruler), ["0", "1000", "2000", "3000"]);
        assert!((ruler.place(1500.0) - 0.5).abs() < 1e-9);
        for nothing in [0.0, f64::NAN, -1.0] {
            assert!(
                Ruler::linear(nothing, 4, |value| format!("{value}"))
                    .place(0.0)
                    .is_finite()
            );
        }
    }

    #[test]
    fn a_log_axis_marks_powers() {
        let ruler = Ruler::log(3.0, 40.0, |value| format!("{value}"));
        assert_eq!(labels(&ruler), ["2", "5", "10", "20", "50"]);
        let wide = Ruler::log(1.0, 1000.0, |value| format!("{value}"));
        assert_eq!(labels(&wide), ["1", "", "", "10", "", "", "100", "", "", "1000"]);
        assert!((wide.place(10.0) - 1.0 / 3.0).abs() < 1e-9);
        assert!(
            Ruler::log(0.0, 0.0, |value| format!("{value}"))
                .place(0.0)
                .is_finite()
        );
    }

    #[test]
    fn time_is_told_in_the_unit_that_suits() {
        assert_eq!(labels(&Ruler::time(20.0)), ["0 s", "5 s", "10 s", "15 s", "20 s"]);
        assert_eq!(labels(&Ruler::time(1800.0))[..3], ["0 min", "5 min", "10 min"]);
    }

    #[test]
    fn places_over_decades_stand_apart_evenly() {
        let places =
            |all: &[f64]| Ruler::places(&all.iter().map(|at| (*at, String::new())).collect::<Vec<_>>());
        assert!((places(&[1e3, 1e4, 1e5]).place(1e4) - 0.5).abs() < 1e-9);
        assert!((places(&[0.0, 10.0, 50.0]).place(10.0) - 0.2).abs() < 1e-9);
        assert!((places(&[7.0]).place(7.0) - 0.5).abs() < 1e-9);
        assert!(places(&[]).place(7.0).is_finite());
    }
}
