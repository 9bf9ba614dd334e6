//! On what it ran, and what mongod says of its work.

use std::fs;

use mongodb::{
    Client,
    bson::{Bson, Document, doc},
};

use crate::run::{Machine, Storage};

/// This machine.
pub fn machine() -> Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (cpu, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let value = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let kibibytes = value(&memory, "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    let kernel = read("/proc/sys/kernel/osrelease");
    let release = read("/etc/os-release");
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    Machine {
        processor: value(&cpu, "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        cores: std::thread::available_parallelism().map_or(0, Into::into),
        memory_bytes: kibibytes.unwrap_or(0) * 1024,
        system: format!(
            "{}, {} {}",
            name.unwrap_or("").trim_matches('"'),
            std::env::consts::OS,
            kernel.trim()
        ),
    }
}

/// Work of a mongod since its start.
#[derive(Debug, Clone, Copy, Default)]
pub struct Work {
    fsyncs: f64,
    journal_bytes: f64,
    documents: f64,
}

impl Work {
    /// Asks the server. What it does not tell is nothing.
    pub async fn of(mongo: &Client) -> mongodb::error::Result<Work> {
        let status = mongo
            .database("admin")
            .run_command(doc! { "serverStatus": 1, "repl": 0, "locks": 0, "tcmalloc": 0 })
            .await?;
        let documents = ["inserted", "updated", "deleted"];
        Ok(Work {
            // Every fsync of a file, journal and checkpoints together.
            fsyncs: number(&status, &["wiredTiger", "connection", "total fsync I/Os"]),
            journal_bytes: number(&status, &["wiredTiger", "log", "log bytes written"]),
            documents: documents
                .iter()
                .map(|kind| number(&status, &["metrics", "document", kind]))
                .sum(),
        })
    }

    /// Since then, for each of these sagas.
    pub fn each(self, earlier: Work, sagas: u64) -> Storage {
        let each = |now: f64, then: f64| (now - then) / sagas.max(1) as f64;
        Storage {
            fsyncs_per_saga: each(self.fsyncs, earlier.fsyncs),
            journal_bytes_per_saga: each(self.journal_bytes, earlier.journal_bytes),
            documents_written_per_saga: each(self.documents, earlier.documents),
        }
    }
}

/// Its version.
pub async fn mongo_version(mongo: &Client) -> mongodb::error::Result<String> {
    let info = mongo
        .database("admin")
        .run_command(doc! { "buildInfo": 1 })
        .await?;
    Ok(info.get_str("version").unwrap_or("?").to_owned())
}

fn number(status: &Document, path: &[&str]) -> f64 {
    let (name, above) = path.split_last().unwrap_or((&"", &[]));
    let inner = above
        .iter()
        .try_fold(status, |document, name| document.get_document(name).ok());
    match inner.and_then(|document| document.get(name)) {
        Some(Bson::Int32(number)) => f64::from(*number),
        Some(Bson::Int64(number)) => *number as f64,
        Some(Bson::Double(number)) => *number,
        _ => 0.0,
    }
}
