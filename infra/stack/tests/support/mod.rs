//! Processes of the real binaries, and requests to them.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use shared::event_log::{ConsumedRecord, Tail};
use uuid::Uuid;

pub mod deployment;
pub mod small_disk;
pub mod stack;
pub mod wire;

/// Within this everything has to happen; a failure shows sooner in most cases.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A directory that is gone with it.
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn new() -> Directory {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(Uuid::now_v7().to_string());
        fs::create_dir_all(&path).expect("a directory for the test");
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// One of our binaries, running. Killed when dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

/// Where programs answer operators: on free ports.
const ADMIN_ADDRS: [&str; 4] = [
    "ADMIN_ADDR",
    "CUSTOMERS_ADMIN_ADDR",
    "ORDERS_ADMIN_ADDR",
    "SHIPPING_ADMIN_ADDR",
];

impl Process {
    /// Starts a binary; everything that it writes goes to a file.
    pub fn start(
        program: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
        directory: &Directory,
    ) -> Process {
        let log = directory.0.join(format!("{program}-{}.log", Uuid::now_v7()));
        let file = File::create(&log).expect("a log file");
        let child = Command::new(binary(program))
            .args(arguments)
            .env_remove("KAFKA_BROKERS")
            .env_remove("MONGODB_URI")
            .env_remove("RUST_LOG")
            .envs(ADMIN_ADDRS.map(|name| (name, "127.0.0.1:0")))
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("the same file"))
            .stderr(file)
            .spawn()
            .expect("our binary starts");
        Process { child, log }
    }

    /// The memory that it occupies, in bytes.
    pub fn memory(&self) -> u64 {
        let pid = self.child.id().to_string();
        let ps = Command::new("ps").args(["-o", "rss=", "-p", &pid]).output();
        let kilobytes = String::from_utf8(ps.expect("ps runs").stdout).expect("ps writes text");
        1024 * kilobytes
            .trim()
            .parse::<u64>()
            .expect("a child of ours that runs")
    }

    /// What it has written so far.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What stands behind `before` in its output, up to white space.
    pub fn says(&mut self, before: &str) -> String {
        let begin = Instant::now();
        loop {
            let output = self.output();
            if let Some((_, rest)) = output.split_once(before)
                && let Some((word, _)) = rest.split_once(char::is_whitespace)
            {
                return word.to_owned();
            }
            assert!(begin.elapsed() < DEADLINE, "{before:?} is not said:\n{output}");
            let ended = self.child.try_wait().expect("a child of ours");
            assert!(ended.is_none(), "it ended ({ended:?}):\n{output}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kill −9.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child of ours");
        self.child.wait().expect("a child of ours");
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).expect("a child of ours");
    }

    /// Waits for its end; the exit code.
    pub fn end(&mut self) -> Option<i32> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                return status.code();
            }
            assert!(begin.elapsed() < DEADLINE, "it does not end:\n{}", self.output());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), self.output());
        }
    }
}

/// Our binary of that name.
pub fn binary(program: &str) -> PathBuf {
    match program {
        "stack" => env!("CARGO_BIN_EXE_stack").into(),
        service => testing::binary::binary(env!("CARGO_BIN_EXE_stack"), service),
    }
}

/// A client of one service.
#[derive(Clone)]
pub struct Client {
    http: ureq::Agent,
    pub url: String,
}

/// An answer: its status and its body.
pub type Answer = (u16, Value);

impl Client {
    pub fn new(url: String) -> Client {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(DEADLINE));
        Client {
            http: config.build().into(),
            url,
        }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.try_get(path).expect("an answer")
    }

    pub fn try_get(&self, path: &str) -> Result<Answer, ureq::Error> {
        read(self.http.get(format!("{}{path}", self.url)).call()?)
    }

    pub fn post(&self, path: &str, body: Value) -> Answer {
        self.try_post(path, &body).expect("an answer")
    }

    pub fn try_post(&self, path: &str, body: &Value) -> Result<Answer, ureq::Error> {
        let request = self
            .http
            .post(format!("{}{path}", self.url))
            .header("content-type", "application/json");
        read(request.send(body.to_string())?)
    }

    /// The status, the header `Retry-After`, and the body.
    pub fn try_order(&self, body: &Value) -> Result<(u16, Option<String>, Value), ureq::Error> {
        let request = self
            .http
            .post(format!("{}/api/orders", self.url))
            .header("content-type", "application/json");
        let response = request.send(body.to_string())?;
        let retry_after = response.headers().get("retry-after");
        let retry_after = retry_after.and_then(|value| Some(value.to_str().ok()?.to_owned()));
        let (status, body) = read(response)?;
        Ok((status, retry_after, body))
    }

    pub fn put(&self, path: &str, body: Value) -> Answer {
        let request = self
            .http
            .put(format!("{}{path}", self.url))
            .header("content-type", "application/json");
        read(request.send(body.to_string()).expect("an answer")).expect("an answer")
    }

    /// Waits until it is ready.
    pub fn ready(&self) {
        eventually("the service is ready", || match self.try_get("/health/ready") {
            Ok((200, _)) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
}

fn read(mut response: ureq::http::Response<ureq::Body>) -> Result<Answer, ureq::Error> {
    let body = response.body_mut().read_to_string()?;
    Ok((
        response.status().as_u16(),
        serde_json::from_str(&body).unwrap_or(Value::String(body)),
    ))
}

/// Asks again and again until it holds; panics with the last reason at the deadline.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let begin = Instant::now();
    loop {
        match ask() {
            Ok(found) => return found,
            Err(reason) => assert!(begin.elapsed() < DEADLINE, "{what}: {reason}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Reads on until there are so many records.
pub fn read_on(tail: &mut Tail, records: &mut Vec<ConsumedRecord>, at_least: usize) {
    eventually("the records are there", || {
        while let Ok(record) = tail.try_recv() {
            records.push(record);
        }
        if records.len() >= at_least {
            Ok(())
        } else {
            Err(format!("{} of {at_least}", records.len()))
        }
    });
}
