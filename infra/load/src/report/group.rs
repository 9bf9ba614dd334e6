//! Runs of the same kind: `fast-1`, `fast-2` are the group `fast`. A group is told by its median and spread.

use super::number;
use crate::run::Run;

/// Runs of the same kind, in their order.
pub struct Group<'a> {
    /// Their name without the number.
    pub name: &'a str,
    /// At least one.
    pub runs: Vec<&'a Run>,
}

/// Median and spread of a quantity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub least: f64,
    /// The largest.
    pub most: f64,
    /// Of how many.
    pub count: usize,
}

/// The name without a number at its end, and that number.
pub fn split(name: &str) -> (&str, Option<u64>) {
    match name.rsplit_once('-') {
        Some((group, number)) if !group.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => {
            number
                .parse()
                .map_or((name, None), |number| (group, Some(number)))
        }
        _ => (name, None),
    }
}

/// The groups, in the order in which their first runs stand.
pub fn groups(runs: &[Run]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for run in runs {
        let name = split(&run.name).0;
        match groups.iter_mut().find(|group| group.name == name) {
            Some(group) => group.runs.push(run),
            None => groups.push(Group {
                name,
                runs: vec![run],
            }),
        }
    }
    groups
}

impl Spread {
    /// Of all that are numbers; `None` if there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let half = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[half]
        } else {
            (values[half - 1] + values[half]) / 2.0
        };
        Some(Self {
            median,
            least,
            most,
            count: values.len(),
        })
    }

    /// `11.8–12.9`; nothing if there is but one.
    pub fn range(&self, format: impl Fn(f64) -> String) -> Option<String> {
        (self.count > 1).then(|| number::range(&format(self.least), &format(self.most)))
    }
}

impl<'a> Group<'a> {
    /// Of a quantity of its runs, as far as they have it.
    pub fn spread(&self, quantity: impl Fn(&Run) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.runs.iter().filter_map(|run| quantity(run)))
    }

    /// Its name, or that of its only run.
    pub fn name_or_run(&self) -> &'a str {
        match self.runs[..] {
            [only] => &only.name,
            _ => self.name,
        }
    }

    /// The run in the middle by throughput: the one to draw where only one can be drawn.
    pub fn typical(&self) -> &'a Run {
        let mut runs = self.runs.clone();
        runs.sort_by(|a, b| a.sagas_per_second.total_cmp(&b.sagas_per_second));
        runs[(runs.len() - 1) / 2]
    }

    /// This group's quantity divided by the other's, pair by pair: runs with the same number were
    /// interleaved, so what the machine did to one it did to the other. Without pairs: by the medians.
    pub fn ratio(&self, other: &Group<'_>, quantity: impl Fn(&Run) -> Option<f64>) -> Option<Spread> {
        let pairs = self.runs.iter().filter_map(|mine| {
            let number = split(&mine.name).1?;
            let theirs = other
                .runs
                .iter()
                .find(|theirs| split(&theirs.name).1 == Some(number))?;
            Some(quantity(mine)? / quantity(theirs)?)
        });
        Spread::of(pairs).or_else(|| {
            let (mine, theirs) = (self.spread(&quantity)?, other.spread(&quantity)?);
            Spread::of([mine.median / theirs.median])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};

    #[test]
    fn a_group_is_the_name_without_its_number() {
        assert_eq!(split("fast-12"), ("fast", Some(12)));
        assert_eq!(split("half-load-1"), ("half-load", Some(1)));
        for name in ["soak", "p-", "-1", "fast-1a", "fast-99999999999999999999999"] {
            assert_eq!(split(name), (name, None));
        }
    }

    #[test]
    fn interleaved_runs_are_grouped_in_their_order() {
        let runs = sample::pairs(2);
        let groups = groups(&runs);
        let told: Vec<(&str, Vec<&str>)> = groups
            .iter()
            .map(|group| {
                (
                    group.name,
                    group.runs.iter().map(|run| run.name.as_str()).collect(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("fast", vec!["fast-1", "fast-2"]),
                ("naive", vec!["naive-1", "naive-2"])
            ]
        );
    }

    #[test]
    fn median_and_spread() {
        let spread = Spread::of([5.0, f64::NAN, 1.0, 3.0]).unwrap();
        assert_eq!(
            spread,
            Spread {
                median: 3.0,
                least: 1.0,
                most: 5.0,
                count: 3
            }
        );
        assert_eq!(Spread::of([1.0, 2.0]).unwrap().median, 1.5);
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn ratios_are_taken_pair_by_pair() {
        let mut runs = sample::pairs(2);
        for (run, rate) in runs.iter_mut().zip([1000.0, 100.0, 500.0, 25.0]) {
            run.sagas_per_second = rate;
        }
        let groups = groups(&runs);
        let ratio = groups[0]
            .ratio(&groups[1], |run| Some(run.sagas_per_second))
            .unwrap();
        assert_eq!(
            ratio,
            Spread {
                median: 15.0,
                least: 10.0,
                most: 20.0,
                count: 2
            }
        );
        assert_eq!(groups[0].typical().name, "fast-2");
    }
}
