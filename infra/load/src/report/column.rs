//! What is told of a run in a row: one list for the terminal, the page and the median of a group.

use super::{group::Spread, number};
use crate::run::{Cost, Latency, Run};

type Value = Box<dyn Fn(&Run) -> Option<f64>>;

/// One quantity of a run.
pub struct Column {
    /// What it belongs to: `completed, ms`; the same for neighbours.
    pub section: &'static str,
    /// `p99`, or the name of a process.
    pub title: String,
    value: Value,
    format: fn(f64) -> String,
}

impl Column {
    fn new(
        section: &'static str,
        title: impl Into<String>,
        value: impl Fn(&Run) -> Option<f64> + 'static,
    ) -> Self {
        Self {
            section,
            title: title.into(),
            value: Box::new(value),
            format: number::quantity,
        }
    }

    fn whole(title: &str, value: impl Fn(&Run) -> u64 + 'static) -> Self {
        let format = |number: f64| number::count(number.round() as u64);
        Self {
            format,
            ..Self::new("orders", title, move |run| Some(value(run) as f64))
        }
    }

    /// Of a run that has it.
    pub fn value(&self, run: &Run) -> Option<f64> {
        (self.value)(run)
    }

    /// As it stands in a cell.
    pub fn told(&self, value: Option<f64>) -> String {
        value.map_or(number::NONE.to_owned(), self.format)
    }

    /// Its spread as it stands in a cell; nothing if there is none.
    pub fn range(&self, spread: Option<Spread>) -> String {
        spread
            .and_then(|spread| spread.range(self.format))
            .unwrap_or_default()
    }
}

/// The processes of all runs, in the order of a stack from below.
pub fn processes(runs: &[Run]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for cost in runs.iter().flat_map(|run| &run.costs) {
        if !names.contains(&cost.name) {
            names.push(cost.name.clone());
        }
    }
    names
}

/// CPU time per saga of all processes named.
pub fn cpu(run: &Run, names: &[&str]) -> Option<f64> {
    let costs: Vec<&Cost> = run
        .costs
        .iter()
        .filter(|cost| names.contains(&cost.name.as_str()))
        .collect();
    (!costs.is_empty()).then(|| costs.iter().map(|cost| cost.cpu_ms_per_saga()).sum())
}

/// CPU time per saga of all processes.
pub fn cpu_total(run: &Run) -> Option<f64> {
    (!run.costs.is_empty()).then(|| run.costs.iter().map(Cost::cpu_ms_per_saga).sum())
}

/// A figure of a latency that has samples.
pub fn latency(latency: &Latency, figure: fn(&Latency) -> f64) -> Option<f64> {
    (latency.count > 0).then(|| figure(latency))
}

/// Speed and latency.
pub fn speed() -> Vec<Column> {
    let acknowledged = |title: &str, figure: fn(&Latency) -> f64| {
        Column::new("acknowledged, ms", title, move |run| {
            latency(&run.acknowledged, figure)
        })
    };
    let completed = |title: &str, figure: fn(&Latency) -> f64| {
        Column::new("completed, ms", title, move |run| latency(&run.completed, figure))
    };
    vec![
        Column::new("", "sagas/s", |run| Some(run.sagas_per_second)),
        acknowledged("p50", |latency| latency.p50),
        acknowledged("p99", |latency| latency.p99),
        completed("p50", |latency| latency.p50),
        completed("p90", |latency| latency.p90),
        completed("p99", |latency| latency.p99),
        completed("p99.9", |latency| latency.p999),
        completed("max", |latency| latency.max),
    ]
}

/// What it cost.
pub fn cost(runs: &[Run]) -> Vec<Column> {
    const CPU: &str = "CPU ms a saga";
    const STORAGE: &str = "mongod, a saga";
    let mut columns: Vec<Column> = processes(runs)
        .into_iter()
        .map(|name| Column::new(CPU, name.clone(), move |run| cpu(run, &[&name])))
        .collect();
    columns.push(Column::new(CPU, "total", cpu_total));
    if runs.iter().any(|run| run.storage.is_some()) {
        columns.push(Column::new(STORAGE, "fsyncs", |run| {
            Some(run.storage.as_ref()?.fsyncs_per_saga)
        }));
        columns.push(Column::new(STORAGE, "journal KiB", |run| {
            Some(run.storage.as_ref()?.journal_bytes_per_saga / 1024.0)
        }));
        columns.push(Column::new(STORAGE, "documents", |run| {
            Some(run.storage.as_ref()?.documents_written_per_saga)
        }));
    }
    columns
}

/// Memory and how many of what.
pub fn size(runs: &[Run]) -> Vec<Column> {
    const MEMORY: &str = "peak memory, MiB";
    let mut columns: Vec<Column> = processes(runs)
        .into_iter()
        .map(|name| {
            Column::new(MEMORY, name.clone(), move |run| {
                // A part of a process has no memory of its own.
                let known = |cost: &&Cost| cost.name == name && cost.peak_resident_bytes > 0;
                let cost = run.costs.iter().find(known)?;
                Some(cost.peak_resident_bytes as f64 / 1024.0 / 1024.0)
            })
        })
        .collect();
    columns.push(Column::whole("accepted", |run| run.counts.accepted));
    columns.push(Column::whole("shipped", |run| run.counts.shipped));
    columns.push(Column::whole("cancelled", |run| run.counts.cancelled));
    columns.push(Column::whole("503", |run| run.counts.refused));
    columns.push(Column::whole("failed", |run| run.counts.failed));
    columns
}
