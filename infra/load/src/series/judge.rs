//! Whether a figure is reached: its median is what counts, its spread is told.

use crate::report::{Figure, group::Spread, number};

/// What was to be reached.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

/// How a quantity is told.
pub type Told = fn(f64) -> String;

/// The figure of these values. None of them means that it is not reached.
pub fn judged(
    (id, what): (&str, &str),
    target: Target,
    told: Told,
    values: Vec<f64>,
    note: String,
) -> Figure {
    let spread = Spread::of(values);
    Figure {
        id: id.to_owned(),
        what: what.to_owned(),
        target: match target {
            Target::AtLeast(bound) => format!("≥ {}", whole(&told(bound))),
            Target::AtMost(bound) => format!("≤ {}", whole(&told(bound))),
        },
        measured: spread.map_or(number::NONE.to_owned(), |spread| told(spread.median)),
        spread: spread.and_then(|spread| spread.range(told)).unwrap_or_default(),
        reached: spread.is_some_and(|spread| match target {
            Target::AtLeast(bound) => spread.median >= bound,
            Target::AtMost(bound) => spread.median <= bound,
        }),
        note,
    }
}

/// A bound without zeros that say nothing: `10×` for `10.0×`.
fn whole(told: &str) -> String {
    let end = told.find(|character: char| !"0123456789.,".contains(character));
    let (number, unit) = told.split_at(end.unwrap_or(told.len()));
    let number = match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.'),
        false => number,
    };
    format!("{number}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_reached_where_its_median_is() {
        let of = |target, values: &[f64]| {
            judged(
                ("P0", "it"),
                target,
                number::millis,
                values.to_vec(),
                String::new(),
            )
        };
        let figure = of(Target::AtMost(10.0), &[9.0, 30.0, 8.0]);
        assert!(figure.reached);
        assert_eq!(
            (&*figure.target, &*figure.measured, &*figure.spread),
            ("≤ 10 ms", "9.00 ms", "8.00–30.0 ms")
        );
        assert!(!of(Target::AtLeast(10.0), &[9.0, 30.0, 8.0]).reached);
        assert!(
            of(Target::AtLeast(9.0), &[9.0]).reached,
            "a bound belongs to what it bounds"
        );
        for target in [Target::AtLeast(0.0), Target::AtMost(0.0)] {
            assert!(!of(target, &[]).reached && !of(target, &[f64::NAN]).reached);
        }
    }

    #[test]
    fn a_bound_is_told_without_zeros_that_say_nothing() {
        for (told, without) in [
            ("10.0×", "10×"),
            ("0.80×", "0.8×"),
            ("2,000/s", "2,000/s"),
            ("1.00 %", "1 %"),
        ] {
            assert_eq!(whole(told), without);
        }
    }
}
