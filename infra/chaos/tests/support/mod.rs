//! Both services as processes, with a faulty network between them and a real Kafka and MongoDB.
//!
//! Kafka tells clients one address, so all tests share one proxy before it, and take turns. Topic and
//! databases are each test's own.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use chaos::{
    audit::{Audit, AuditSettings, Ledger, Sent, audit, database::Databases},
    proxy::{Network, Proxy},
    run::client::{Answer, Client},
};
use engines::{Engine, EngineSettings, Engines};
use fleet::{Instance, Launch, Service};
use serde_json::{Value, json};
use shared::money::Money;
use tokio::runtime::Runtime;
use uuid::Uuid;

/// `REQUEST_TIMEOUT` of the services here.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// No answer may take longer, whatever the network does: two seconds are for a last try, one is for
/// a busy machine.
pub const ANSWERED_WITHIN: Duration = Duration::from_secs(8);
/// `/health/ready` tells of a network that is gone within this time.
pub const NOTICED_WITHIN: Duration = Duration::from_secs(5);
/// When the network is sound again, everything works again within this time.
pub const RECOVERED_WITHIN: Duration = Duration::from_secs(20);
/// Everything that was accepted is final within this time after that.
pub const FINAL_WITHIN: Duration = Duration::from_secs(30);
/// What a test of its own waits for.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// What all tests of this process share.
struct Shared {
    runtime: Runtime,
    kafka: Proxy,
    mongo: Proxy,
    engines: Engines,
}

/// Kept for the life of the process; the watchdog of the engines sees to its end.
static SHARED: OnceLock<Option<Shared>> = OnceLock::new();
static TURN: Mutex<()> = Mutex::new(());

fn shared() -> Option<&'static Shared> {
    SHARED.get_or_init(begin).as_ref()
}

fn begin() -> Option<Shared> {
    let runtime = Runtime::new().expect("a runtime");
    let [kafka, mongo] = [(); 2].map(|()| runtime.block_on(Proxy::bind()).expect("a free port"));
    let engines = engines::started_for_tests(EngineSettings {
        name: format!("proxy-{}", std::process::id()),
        fresh: true,
        throw_away: true,
        kafka_proxy: Some(kafka.addr().port()),
        ..EngineSettings::default()
    })?;
    kafka.lead_to(engines.kafka_behind_proxy().expect("it was asked for"));
    let at = engines.mongodb_uri().trim_start_matches("mongodb://");
    let at = at.split('/').next().unwrap_or_default();
    mongo.lead_to(at.parse().expect("host:port"));
    Some(Shared {
        runtime,
        kafka,
        mongo,
        engines,
    })
}

/// Both services behind the proxies, and what was sent to them.
pub struct Bench {
    shared: &'static Shared,
    pub customers: Instance,
    pub orders: Instance,
    pub client: Client,
    pub customer: Uuid,
    pub ledger: Ledger,
    settings: AuditSettings,
    _turn: MutexGuard<'static, ()>,
}

impl Bench {
    /// Starts both services and a customer with a credit of 1000; `None` where there are no engines.
    pub fn new() -> Option<Bench> {
        let shared = shared()?;
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        shared.kafka.set(Network::Sound);
        shared.mongo.set(Network::Sound);
        let own = format!("t{}", Uuid::now_v7().simple());
        let settings = settings(shared, &own);
        let launch = |database: &str, group: &str| Launch {
            binaries: binaries(),
            environment: [
                ("KAFKA_BROKERS", shared.kafka.addr().to_string()),
                // Straight to the proxy: the replica set would tell the server's own address.
                (
                    "MONGODB_URI",
                    format!("mongodb://{}/?directConnection=true", shared.mongo.addr()),
                ),
                ("MONGODB_DATABASE", database.to_owned()),
                ("KAFKA_TOPIC", settings.topic.clone()),
                ("KAFKA_GROUP", group.to_owned()),
                ("REQUEST_TIMEOUT", format!("{}s", REQUEST_TIMEOUT.as_secs())),
            ]
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
            logs: logs(&own),
            guard: shared.engines.guard(),
        };
        let customers = launch(&settings.databases.customers, &settings.customers_group);
        let orders = launch(&settings.databases.orders, &settings.orders_group);
        let mut bench = Bench {
            shared,
            customers: Instance::new(Service::Customers, 0, &customers).expect("a free port"),
            orders: Instance::new(Service::Orders, 0, &orders).expect("a free port"),
            client: Client::with_patience(DEADLINE),
            customer: Uuid::now_v7(),
            ledger: Ledger::new(),
            settings,
            _turn: turn,
        };
        bench.customers.start().expect("customers starts");
        bench.orders.start().expect("orders starts");
        bench.wait_until_ready(DEADLINE);
        let new = json!({ "id": bench.customer, "name": "Ada", "creditLimit": 1000 });
        let url = format!("{}/api/customers", bench.customers.url);
        assert_eq!(bench.client.post(&url, &new, "").expect("an answer").0, 201);
        Some(bench)
    }

    /// The proxy before this engine.
    pub fn proxy(&self, engine: Engine) -> &'static Proxy {
        match engine {
            Engine::Kafka => &self.shared.kafka,
            Engine::Mongo => &self.shared.mongo,
        }
    }

    /// Sends an order of 1 under this id once; notes it where it is accepted. Panics where the answer
    /// takes too long.
    pub fn send(&mut self, id: Uuid, wait: &str) -> Answer {
        let sent = Sent {
            customer: self.customer,
            amount: Money::units(1),
            acknowledged: false,
            cancelled: false,
        };
        let sent = self.ledger.entry(id).or_insert(sent);
        let url = format!("{}/api/orders{wait}", self.orders.url);
        let body = json!({ "id": id, "customerId": self.customer, "amount": 1 });
        let begin = Instant::now();
        let answer = self.client.post(&url, &body, "").expect("an answer");
        if wait.is_empty() {
            assert!(
                begin.elapsed() < ANSWERED_WITHIN,
                "{answer:?} after {:?}",
                begin.elapsed()
            );
        }
        assert!([201, 202, 503].contains(&answer.0), "{answer:?}");
        sent.acknowledged |= answer.0 < 300;
        answer
    }

    /// Reads an order; panics where the answer takes too long.
    pub fn read(&self, id: Uuid) -> Answer {
        let begin = Instant::now();
        let url = format!("{}/api/orders/{id}", self.orders.url);
        let answer = self.client.get(&url).expect("an answer");
        assert!(
            begin.elapsed() < ANSWERED_WITHIN,
            "{answer:?} after {:?}",
            begin.elapsed()
        );
        answer
    }

    /// What `/health/ready` says of both services: the reasons of the checks that fail.
    pub fn unready(&self) -> Vec<Vec<String>> {
        let of = |url: &str| {
            let begin = Instant::now();
            let (status, health) = self
                .client
                .get(&format!("{url}/health/ready"))
                .expect("an answer");
            assert!(
                begin.elapsed() < NOTICED_WITHIN,
                "{health} after {:?}",
                begin.elapsed()
            );
            assert!([200, 503].contains(&status), "{status} {health}");
            let checks = health["checks"].as_array().cloned().unwrap_or_default();
            let reason = |check: Value| {
                Some(format!(
                    "{}: {}",
                    check["name"].as_str()?,
                    check["reason"].as_str()?
                ))
            };
            let reasons: Vec<String> = checks
                .into_iter()
                .filter(|check| check["status"] == "down")
                .filter_map(reason)
                .collect();
            assert_eq!(status == 200, reasons.is_empty(), "{health}");
            reasons
        };
        vec![of(&self.customers.url), of(&self.orders.url)]
    }

    /// Waits until both services are ready; how long that took.
    pub fn wait_until_ready(&self, within: Duration) -> Duration {
        eventually("both services are ready", within, || {
            for url in [&self.customers.url, &self.orders.url] {
                match self.client.get(&format!("{url}/health/ready")) {
                    Ok((200, _)) => {}
                    other => return Err(format!("{other:?}")),
                }
            }
            Ok(())
        })
    }

    /// Waits until neither is ready, each with a reason for this check; how long that took.
    pub fn wait_until_unready(&self, check: &str) -> Duration {
        eventually("neither service is ready", NOTICED_WITHIN, || {
            let reasons = self.unready();
            let told = |of: &Vec<String>| {
                of.iter()
                    .any(|reason| reason.starts_with(check) && reason.len() > check.len() + 5)
            };
            if reasons.iter().all(told) {
                Ok(())
            } else {
                Err(format!("{reasons:?}"))
            }
        })
    }

    /// The network is sound again: everything that was sent is accepted when repeated, becomes
    /// final, and is right to the cent in databases and log.
    pub fn recover(mut self, engine: Engine) {
        self.proxy(engine).set(Network::Sound);
        let took = self.wait_until_ready(RECOVERED_WITHIN);
        eprintln!(
            "ready {:.1} s after the network was sound again",
            took.as_secs_f64()
        );
        let ids: Vec<Uuid> = self.ledger.keys().copied().collect();
        for id in ids {
            eventually("a repeated order is accepted", RECOVERED_WITHIN, || {
                match self.send(id, "") {
                    (201, _) => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            });
            eventually("an accepted order is final", FINAL_WITHIN, || {
                match self.read(id) {
                    (200, order) if order["status"] == "Shipped" => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            });
        }
        self.wait_until_clean();
    }

    /// Waits until the audit finds no difference.
    pub fn wait_until_clean(&self) {
        eventually("nothing is left that does not fit together", FINAL_WITHIN, || {
            let Audit { differences, summary } = self.audit();
            let lines: Vec<_> = differences.iter().map(ToString::to_string).collect();
            assert_eq!(summary.orders, self.ledger.len() as u64);
            if differences.total() == 0 {
                Ok(())
            } else {
                Err(lines.join("\n"))
            }
        });
    }

    pub fn audit(&self) -> Audit {
        let audit = audit(&self.settings, Some(&self.ledger));
        self.shared
            .runtime
            .block_on(audit)
            .expect("the engines answer the audit")
    }

    /// The engines' own addresses and what a test of the audit needs to know.
    pub fn settings(&self) -> &AuditSettings {
        &self.settings
    }

    pub fn runtime(&self) -> &'static Runtime {
        &self.shared.runtime
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for instance in [&self.customers, &self.orders] {
                eprintln!("look at {}", instance.log().display());
            }
        }
    }
}

/// Past the proxies.
fn settings(shared: &Shared, own: &str) -> AuditSettings {
    AuditSettings {
        kafka: shared.engines.kafka_brokers().to_owned(),
        mongo: shared.engines.mongodb_uri().to_owned(),
        topic: own.to_owned(),
        databases: Databases {
            customers: format!("{own}-customers"),
            orders: format!("{own}-orders"),
        },
        customers_group: format!("{own}-customers"),
        orders_group: format!("{own}-orders"),
        grace: Duration::ZERO,
        skew: Duration::ZERO,
    }
}

/// Where the services' binaries are.
pub fn binaries() -> PathBuf {
    let chaos = env!("CARGO_BIN_EXE_chaos");
    for service in Service::ALL {
        testing::binary::binary(chaos, service.name());
    }
    Path::new(chaos)
        .parent()
        .expect("a file is in a folder")
        .to_owned()
}

fn logs(own: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(own);
    std::fs::create_dir_all(&folder).expect("a folder for logs");
    folder
}

/// Asks again and again until it holds; how long that took. Panics with the last reason at the
/// deadline.
pub fn eventually(what: &str, within: Duration, mut ask: impl FnMut() -> Result<(), String>) -> Duration {
    let begin = Instant::now();
    loop {
        match ask() {
            Ok(()) => return begin.elapsed(),
            Err(reason) => assert!(
                begin.elapsed() < within,
                "not within {within:?}: {what}: {reason}"
            ),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
