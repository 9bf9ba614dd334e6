//! What the tests of this crate share.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::fs;
use std::time::{Duration, Instant};

use engines::{EngineSettings, Engines, StartError};

/// The engines, or `None` and a line on standard error where a tool is missing.
pub fn started(settings: EngineSettings) -> Option<Engines> {
    match engines::start(settings) {
        Ok(engines) => Some(engines),
        Err(StartError::MissingTools(tools)) if std::env::var_os("CI").is_none() => {
            tools.iter().for_each(|tool| eprintln!("SKIPPED: {tool}"));
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Whether the process runs. One that has ended and waits for its parent to take note does not.
pub fn exists(pid: u32) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => !stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .trim_start()
            .starts_with('Z'),
        Err(_) => false,
    }
}

/// Polls until it is true.
pub fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_true() {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The processes whose command line has this text in it.
pub fn processes_with(text: &str) -> Vec<u32> {
    let folders = fs::read_dir("/proc").unwrap().flatten();
    let pids = folders.filter_map(|folder| folder.file_name().to_str()?.parse().ok());
    pids.filter(|&pid| {
        pid != std::process::id()
            && exists(pid)
            && fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(text))
    })
    .collect()
}
