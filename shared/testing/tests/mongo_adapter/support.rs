//! What the tests of the adapter share: documents, a database of their own, a mongod of their own,
//! and a wire that can be cut.

use std::{
    io::{Read, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use mongodb::{
    Client,
    bson::{Binary, Document, RawDocument, RawDocumentBuf, doc, spec::BinarySubtype},
};
use shared::document_store::{
    CollectionSettings, Commit, DocumentKey, DocumentStore, Index, Outcome, StoredDocument, Write,
    mongo::{MongoSettings, MongoStore},
};
use testing::eventually;
use uuid::Uuid;

pub const ORDERS: CollectionSettings = CollectionSettings {
    name: "orders",
    indexes: &[
        Index {
            fields: &["customerId", "status"],
        },
        Index { fields: &["status"] },
    ],
};
pub const ACCOUNTS: CollectionSettings = CollectionSettings {
    name: "accounts",
    indexes: &[],
};

/// The server that the tests may use, or a loud word that they did not run.
pub fn uri() -> Option<String> {
    engines::for_tests().map(|engines| engines.mongodb_uri.clone())
}

/// The server's program, for tests that need one of their own.
pub fn mongod() -> Option<String> {
    let program = engines::for_tests()?.mongod.as_deref();
    if program.is_none() {
        let test = thread::current().name().unwrap_or("?").to_owned();
        eprintln!("SKIPPED: {test}: needs a mongod program on the PATH");
    }
    program.map(|program| program.display().to_string())
}

/// A store over a database that no other test uses.
pub struct Fixture {
    pub store: MongoStore,
    pub settings: MongoSettings,
    /// Beside the store, to look behind it.
    pub client: Client,
}

impl Fixture {
    pub async fn new(uri: &str) -> Fixture {
        Fixture::with(uri, |_| ()).await
    }

    pub async fn with(uri: &str, change: impl FnOnce(&mut MongoSettings)) -> Fixture {
        let name = format!("test-{}", Uuid::new_v4().simple());
        let mut settings = MongoSettings::new(uri, &name);
        settings.app_name = name;
        change(&mut settings);
        let store = MongoStore::new(settings.clone()).await.unwrap();
        store.prepare(vec![ORDERS, ACCOUNTS]).await.unwrap();
        // Not through a proxy that the store goes through.
        let direct = self::uri()
            .filter(|_| uri.contains("proxied"))
            .unwrap_or(uri.to_owned());
        let client = Client::with_uri_str(direct).await.unwrap();
        Fixture {
            store,
            settings,
            client,
        }
    }

    pub fn database(&self) -> mongodb::Database {
        self.client.database(&self.settings.database)
    }

    pub async fn end(self) {
        self.database().drop().await.unwrap();
    }

    pub async fn version(&self, key: DocumentKey) -> Option<i64> {
        // After a fault the driver may not have found the server again.
        let look = async || self.store.find(key.collection, vec![key.id]).await;
        let found = eventually(Duration::from_secs(10), "a read", look).await;
        found.first().map(|document| document.get_i64("version").unwrap())
    }
}

pub fn key(collection: CollectionSettings) -> DocumentKey {
    DocumentKey {
        collection: collection.name,
        id: Uuid::now_v7(),
    }
}

pub fn uuid(id: Uuid) -> Binary {
    Binary {
        subtype: BinarySubtype::Uuid,
        bytes: id.as_bytes().to_vec(),
    }
}

/// A document with fields beside those of the port.
pub fn document(key: DocumentKey, version: i64, commit: Uuid, fields: Document) -> StoredDocument {
    let mut document = doc! { "_id": uuid(key.id), "version": version, "commitId": uuid(commit) };
    document.extend(fields);
    RawDocumentBuf::try_from(&document).unwrap().into()
}

/// A commit of writes: the key, the version it replaces, the other fields.
pub fn commit(atomic: bool, writes: Vec<(DocumentKey, Option<i64>, Document)>) -> Commit {
    let id = Uuid::new_v4();
    let writes = writes
        .into_iter()
        .map(|(key, expected_version, fields)| Write {
            key,
            expected_version,
            document: document(key, expected_version.unwrap_or(0) + 1, id, fields),
            carried: Vec::new(),
        })
        .collect();
    Commit { id, atomic, writes }
}

pub fn insert(key: DocumentKey) -> Commit {
    commit(false, vec![(key, None, doc! {})])
}

pub fn all(outcome: Outcome, count: usize) -> Vec<Outcome> {
    vec![outcome; count]
}

pub fn id_of(document: &RawDocument) -> Uuid {
    Uuid::from_slice(document.get_binary("_id").unwrap().bytes).unwrap()
}

/// A mongod of the test's own; ended, and its data removed, when dropped.
pub struct Engine {
    binary: String,
    port: u16,
    data: PathBuf,
    replicates: bool,
    process: Option<Child>,
}

impl Engine {
    /// On a free port, not started yet.
    pub fn new(binary: String, replicates: bool) -> Engine {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let data =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("mongod-{port}-{}", Uuid::new_v4()));
        Engine {
            binary,
            port,
            data,
            replicates,
            process: None,
        }
    }

    pub fn uri(&self) -> String {
        format!("mongodb://127.0.0.1:{}/", self.port)
    }

    /// Starts the process, and waits for its port.
    pub fn start(&mut self) {
        std::fs::create_dir_all(&self.data).unwrap();
        let mut command = Command::new(&self.binary);
        command.args([
            "--bind_ip",
            "127.0.0.1",
            "--wiredTigerCacheSizeGB",
            "0.25",
            "--port",
        ]);
        command.arg(self.port.to_string()).arg("--dbpath").arg(&self.data);
        if self.replicates {
            command.args(["--replSet", "rs0"]);
        }
        let process = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(process);
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "mongod did not come up");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Makes it a replica set of one.
    pub async fn initiate(&self) {
        let client = Client::with_uri_str(format!("{}?directConnection=true", self.uri()))
            .await
            .unwrap();
        let config =
            doc! { "_id": "rs0", "members": [{ "_id": 0, "host": format!("127.0.0.1:{}", self.port) }] };
        client
            .database("admin")
            .run_command(doc! { "replSetInitiate": config })
            .await
            .unwrap();
    }

    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Sends the process a signal by name.
    pub fn signal(&self, signal: &str) {
        let pid = self.process.as_ref().unwrap().id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &pid])
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

/// What happens to the next request that holds the marker.
#[derive(Clone, Copy)]
pub enum Accident {
    /// It is carried out, but the connection breaks before the answer.
    CutAnswer,
    /// It is carried out, and the answer never comes.
    SwallowAnswer,
    /// It reaches the server so much later.
    DelayRequest(Duration),
}

/// The marker to wait for, and what then happens.
type Armed = Option<(Vec<u8>, Accident)>;

/// A wire to the server on which accidents happen.
pub struct Proxy {
    pub uri: String,
    armed: Arc<Mutex<Armed>>,
    pub accidents: Arc<AtomicU32>,
}

impl Proxy {
    /// In front of the server of a plain URI.
    pub fn new(uri: &str) -> Proxy {
        let server = uri
            .trim_start_matches("mongodb://")
            .split(['/', '?'])
            .next()
            .unwrap()
            .to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let armed = Arc::new(Mutex::new(None));
        let accidents = Arc::new(AtomicU32::new(0));
        let (shared_armed, shared_accidents) = (armed.clone(), accidents.clone());
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(&server).unwrap());
                let (armed, accidents) = (shared_armed.clone(), shared_accidents.clone());
                let fate = Arc::new(Mutex::new(None));
                let (requests_from, requests_to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let requests_fate = fate.clone();
                thread::spawn(move || {
                    requests(requests_from, requests_to, &armed, &accidents, &requests_fate)
                });
                thread::spawn(move || answers(server, client, &fate));
            }
        });
        // The set knows itself by the server's own address: the driver must not go there.
        let uri = format!("mongodb://127.0.0.1:{port}/?directConnection=true&appName=proxied");
        Proxy {
            uri,
            armed,
            accidents,
        }
    }

    /// The next request that holds `marker` has this accident.
    pub fn arm(&self, marker: &str, accident: Accident) {
        // The name of the command is the first element, a string or a number.
        *self.armed.lock().unwrap() = Some((format!("{marker}\0").into_bytes(), accident));
    }

    pub fn happened(&self) -> u32 {
        self.accidents.load(Ordering::SeqCst)
    }
}

fn requests(
    mut from: TcpStream,
    mut to: TcpStream,
    armed: &Mutex<Armed>,
    accidents: &AtomicU32,
    fate: &Mutex<Option<Accident>>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let bytes = &buffer[..count];
        let accident = {
            let mut armed = armed.lock().unwrap();
            let hit = armed.as_ref().is_some_and(|(marker, _)| {
                bytes
                    .windows(marker.len())
                    .any(|window| window == marker.as_slice())
            });
            if hit {
                armed.take().map(|(_, accident)| accident)
            } else {
                None
            }
        };
        match accident {
            Some(Accident::DelayRequest(delay)) => {
                accidents.fetch_add(1, Ordering::SeqCst);
                thread::sleep(delay);
            }
            Some(accident) => {
                accidents.fetch_add(1, Ordering::SeqCst);
                *fate.lock().unwrap() = Some(accident);
            }
            None => {}
        }
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

fn answers(mut from: TcpStream, mut to: TcpStream, fate: &Mutex<Option<Accident>>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        match *fate.lock().unwrap() {
            Some(Accident::CutAnswer) => break,
            Some(Accident::SwallowAnswer) => continue,
            Some(Accident::DelayRequest(_)) | None => {}
        }
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
