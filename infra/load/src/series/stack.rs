//! The embedded default as a user starts it: the program `stack`, on an empty data directory.

use std::{
    fs::File,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use crate::{
    account::{Account, Who},
    client::Client,
};

/// How long it may take to answer at all.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Between its first answer and the begin of idling.
const SETTLE: Duration = Duration::from_secs(1);
/// How long it idles.
const IDLE: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(5);

/// How it started and idled.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Start {
    /// Seconds from its start until both services said that they are ready.
    pub seconds_to_ready: f64,
    /// Processor time of one core while nothing was asked of it, as a share.
    pub idle_share: f64,
    /// Resident memory then, in bytes.
    pub idle_resident_bytes: u64,
}

/// Starts it, lets it idle, ends it. Blocks. `folder` is for its data and its log.
pub fn start(binary: &Path, folder: &Path) -> anyhow::Result<Start> {
    eprintln!("load: the embedded default from its start, idle for {IDLE:?} …");
    std::fs::create_dir_all(folder)?;
    let log = File::create(folder.join("stack.log"))?;
    let (orders, customers) = (free_addr()?, free_addr()?);
    let begin = Instant::now();
    let mut stack = Stack(
        Command::new(binary)
            .env_clear()
            .args(["--orders-addr", &orders, "--customers-addr", &customers])
            .args([
                "--orders-admin-addr",
                "127.0.0.1:0",
                "--customers-admin-addr",
                "127.0.0.1:0",
            ])
            .arg("--data-dir")
            .arg(folder.join("data"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?,
    );
    for addr in [&orders, &customers] {
        while !is_ready(&format!("http://{addr}"))? {
            let ended = stack.0.try_wait()?;
            ensure!(ended.is_none(), "{} ended: {ended:?}", binary.display());
            ensure!(begin.elapsed() < ANSWER_WITHIN, "{addr} is not ready");
            std::thread::sleep(LOOK);
        }
    }
    let seconds_to_ready = begin.elapsed().as_secs_f64();
    std::thread::sleep(SETTLE);
    let account = Account {
        name: "stack".to_owned(),
        who: Who::Processes(vec![stack.0.id()]),
    };
    let before = account.spent();
    std::thread::sleep(IDLE);
    let spent = account.spent().since(before);
    Ok(Start {
        seconds_to_ready,
        idle_share: (spent.user + spent.system).as_secs_f64() / IDLE.as_secs_f64(),
        idle_resident_bytes: account.resident(),
    })
}

struct Stack(Child);

impl Drop for Stack {
    fn drop(&mut self) {
        // Fails only where it has ended already. Its data are not needed any more.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a service says that it is ready; nobody there means that it is not.
pub fn is_ready(url: &str) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let client = Client::new(url).await?;
        let answer = client.get(hyper::Uri::from_static("/health/ready")).await;
        Ok(answer.is_ok_and(|answer| answer.status == 200))
    })
}

fn free_addr() -> anyhow::Result<String> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    Ok(listener.local_addr()?.to_string())
}
