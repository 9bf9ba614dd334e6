//! The processes of our services: started, signalled and ended here, each by its own id.
//!
//! The promise: a process that was started here is ended when its [`Instance`] is dropped, and by the
//! [`Guard`] where we are killed before that.

use std::{
    fs::{File, OpenOptions},
    net::{Ipv4Addr, TcpListener},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use engines::Guard;
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use serde::Serialize;

/// Below the range from which the kernel takes local ports: a client that knocks at a port of a dead
/// process must not be given it.
const PORTS: std::ops::Range<u16> = 20_000..30_000;
/// Between two looks at a process that is to end.
const LOOK: Duration = Duration::from_millis(10);

/// One of our services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// Orders.
    Orders,
    /// Customers.
    Customers,
}

impl Service {
    /// Both.
    pub const ALL: [Service; 2] = [Service::Orders, Service::Customers];

    /// Its binary.
    pub fn name(self) -> &'static str {
        match self {
            Service::Orders => "orders",
            Service::Customers => "customers",
        }
    }
}

/// What a process of a service is started with.
#[derive(Clone)]
pub struct Launch {
    /// Where the binaries are.
    pub binaries: PathBuf,
    /// Environment of every process.
    pub environment: Vec<(String, String)>,
    /// Where logs go.
    pub logs: PathBuf,
    /// Ends what we leave behind, should we be killed.
    pub guard: Guard,
}

/// A place for a process of a service: its port and its log stay, processes come and go.
pub struct Instance {
    /// Of which service.
    pub service: Service,
    /// `orders-1`
    pub name: String,
    /// Where it answers, whichever process it is.
    pub url: String,
    launch: Launch,
    port: u16,
    child: Option<Child>,
    /// How often a process was started here.
    pub starts: u32,
}

impl Instance {
    /// A place without a process.
    pub fn new(service: Service, number: usize, launch: &Launch) -> anyhow::Result<Instance> {
        let port = free_port()?;
        Ok(Instance {
            service,
            name: format!("{}-{}", service.name(), number + 1),
            url: format!("http://127.0.0.1:{port}"),
            launch: launch.clone(),
            port,
            child: None,
            starts: 0,
        })
    }

    /// The log of all its processes.
    pub fn log(&self) -> PathBuf {
        self.launch.logs.join(format!("{}.log", self.name))
    }

    /// Starts a process, in a group of its own so that Ctrl-C does not reach it before us. One that
    /// runs already is killed first.
    pub fn start(&mut self) -> anyhow::Result<()> {
        self.kill();
        let log = self.log();
        let file: File = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let binary = self.launch.binaries.join(self.service.name());
        let child = Command::new(&binary)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .envs(self.launch.environment.iter().map(|(name, value)| (name, value)))
            .env("HTTP_ADDR", format!("127.0.0.1:{}", self.port))
            .env("ADMIN_ADDR", "127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let group = child.id();
        self.child = Some(child);
        self.starts += 1;
        self.launch.guard.watch(group)?;
        Ok(())
    }

    /// Moves to a port that is free now: one that nobody has held for a while may be another's.
    pub fn move_away(&mut self) -> anyhow::Result<()> {
        self.port = free_port()?;
        self.url = format!("http://127.0.0.1:{}", self.port);
        Ok(())
    }

    /// Its process id, while one runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Fails only where it has ended already.
            let _ = child.kill();
            let _ = child.wait();
            self.launch.guard.forget(child.id());
        }
    }

    /// SIGSTOP or SIGCONT.
    pub fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            // Fails only where it has ended already, which `lost` tells.
            let _ = kill_process(Pid::from_child(child), signal);
        }
    }

    /// SIGTERM; how it ended, or an error where it did not in this time (then it is killed).
    pub fn terminate(&mut self, within: Duration) -> anyhow::Result<Option<ExitStatus>> {
        self.signal(Signal::TERM);
        let Some(child) = &mut self.child else {
            return Ok(None);
        };
        let begin = Instant::now();
        while begin.elapsed() < within {
            if let Some(status) = child.try_wait()? {
                self.ended();
                return Ok(Some(status));
            }
            std::thread::sleep(LOOK);
        }
        self.kill();
        bail!("{} did not end within {within:?} of SIGTERM", self.name)
    }

    /// How it ended, where nobody asked it to.
    pub fn lost(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok().flatten()?;
        self.ended();
        Some(status)
    }

    fn ended(&mut self) {
        if let Some(child) = self.child.take() {
            self.launch.guard.forget(child.id());
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> anyhow::Result<u16> {
    (0..100)
        .map(|_| fastrand::u16(PORTS))
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .context("no free port")
}

/// How binaries are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// As by `cargo run --release`: soon built.
    Release,
    /// As deployed: as fast as they get, and minutes of building.
    Dist,
}

impl Profile {
    /// As cargo calls it, and the folder of its binaries.
    pub const fn name(self) -> &'static str {
        match self {
            Profile::Release => "release",
            Profile::Dist => "dist",
        }
    }

    /// Where cargo puts its binaries.
    pub fn folder(self) -> anyhow::Result<PathBuf> {
        Ok(target()?.join(self.name()))
    }
}

fn target() -> anyhow::Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let target = exe
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").exists())
        .or_else(|| exe.parent().and_then(Path::parent))
        .context("the folder of the binaries")?;
    Ok(target.to_owned())
}

/// Builds the binaries of these packages, where cargo is at hand. Together with the crate that asks, if it
/// is of the same profile, so that what all depend on is built once, with the features of all.
pub fn build(profile: Profile, packages: &[&str]) -> anyhow::Result<()> {
    let Some(cargo) = std::env::var_os("CARGO") else {
        return Ok(());
    };
    let name = profile.name();
    eprintln!("building {} ({name}) …", packages.join(", "));
    let built = Command::new(cargo)
        .args(["build", "--profile", name, "--quiet"])
        .args(packages.iter().flat_map(|package| ["-p", package]))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CARGO_TARGET_DIR", target()?)
        .status()?;
    if !built.success() {
        bail!("{} cannot be built", packages.join(", "));
    }
    Ok(())
}

/// Where the binaries of the services are, built with these others where cargo is at hand.
pub fn service_binaries(profile: Profile, with: &[&str]) -> anyhow::Result<PathBuf> {
    let services = Service::ALL.map(Service::name);
    build(profile, &[&services, with].concat())?;
    let folder = profile.folder()?;
    for service in services {
        let binary = folder.join(service);
        if !binary.exists() {
            bail!(
                "{} is missing: cargo build --profile {} -p orders -p customers",
                binary.display(),
                profile.name()
            );
        }
    }
    Ok(folder)
}

/// `target/<of>/<name>`, empty.
pub fn fresh_folder(of: &str, name: &str) -> anyhow::Result<PathBuf> {
    let folder = target()?.join(of).join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}
