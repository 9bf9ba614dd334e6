//! The actors of the kit with a service made up for the test: the repository and the publisher.

#![allow(clippy::unwrap_used, reason = "a test says no by panicking")]

use std::{sync::Arc, time::Duration};

use actix::prelude::*;
use contracts::{CreditLimitChanged, CustomerId};
use serde::{Deserialize, Serialize};
use shared::{
    actors::{
        essential::{Deaths, Drain, Essentials},
        publisher::{Fate, Publish, PublisherActor, Settlement},
        repository::{
            Begin, Command, Copies, CopiesOf, Execute, Find, Parking, RepositoryActor, RepositoryError,
            RepositorySettings, Turn, Workspace,
        },
    },
    document_store::{
        CollectionSettings, Document, DocumentKey, DocumentStore, OutboxQuery, embedded::EmbeddedStore, key,
    },
    envelope::{Context as EventContext, OutboxEvent},
    environment::{Environment, Timestamp},
    event_log::{EventLog, TailFrom, TopicSettings, embedded::EmbeddedLog},
    metrics::Metrics,
    money::Money,
};
use testing::{
    DEADLINE, eventually,
    faults::{Mode, Switched},
};
use tokio::{
    sync::{Semaphore, mpsc},
    time::Instant,
};
use uuid::Uuid;

#[path = "actors/events.rs"]
mod events;
#[path = "actors/rounds.rs"]
mod rounds;
#[path = "actors/support.rs"]
mod support;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Account {
    #[serde(rename = "_id")]
    id: CustomerId,
    entries: Vec<i32>,
}

impl Document for Account {
    const COLLECTION: CollectionSettings = CollectionSettings {
        name: "accounts",
        indexes: &[],
    };
    fn id(&self) -> Uuid {
        self.id.0
    }
}

#[derive(Default)]
struct Accounts {
    accounts: CopiesOf<Account>,
    parked: Parking,
}

impl Workspace for Accounts {
    const COLLECTIONS: &'static [CollectionSettings] = &[Account::COLLECTION];
    const ATOMIC: bool = true;
    fn collections(&mut self) -> Vec<&mut dyn Copies> {
        let mut collections: Vec<&mut dyn Copies> = vec![&mut self.accounts];
        collections.extend(self.parked.collections());
        collections
    }
    fn parked(&mut self) -> &mut Parking {
        &mut self.parked
    }
}

/// Adds an entry and answers all; 13 panics, 14 does so once it is durable.
struct Add(CustomerId, i32);

impl Command for Add {
    type Workspace = Accounts;
    type Reply = Vec<i32>;

    fn documents(&self) -> Vec<DocumentKey> {
        vec![key::<Account>(self.0)]
    }

    fn decide(&self, documents: &mut Accounts, now: Timestamp) -> Vec<i32> {
        let Add(id, entry) = *self;
        let known = documents.accounts.get(id).cloned();
        let mut account = known.unwrap_or(Account { id, entries: vec![] });
        account.entries.push(entry);
        assert_ne!(entry, 13, "meant by the test");
        let changed = CreditLimitChanged {
            customer_id: id,
            credit_limit: Money::units(entry.into()),
        };
        let version = account.entries.len() as i64;
        let event = OutboxEvent::new(&changed, id, version, "test", now, &EventContext::default());
        let entries = account.entries.clone();
        documents.accounts.put(account, [event]);
        entries
    }

    fn committed(&self, _: &Vec<i32>) {
        assert_ne!(self.1, 14, "meant by the test");
    }
}

/// In the place of the publisher: hands what it is given to the test.
struct Probe(mpsc::UnboundedSender<Publish>);

impl Actor for Probe {
    type Context = Context<Self>;
}

impl Handler<Publish> for Probe {
    type Result = ();

    fn handle(&mut self, publish: Publish, _: &mut Context<Self>) {
        let _ = self.0.send(publish);
    }
}

struct Bench {
    repository: Addr<RepositoryActor<Accounts>>,
    store: Arc<Switched<dyn DocumentStore>>,
    published: mpsc::UnboundedReceiver<Publish>,
    deaths: Deaths,
}

/// A repository that has begun, with a probe for its publisher.
async fn bench() -> Bench {
    bench_on(store().await).await
}

/// An empty database.
async fn store() -> Arc<dyn DocumentStore> {
    let memory: Arc<dyn DocumentStore> = Arc::new(EmbeddedStore::in_memory().unwrap());
    memory
        .prepare([&[Account::COLLECTION][..], &Parking::COLLECTIONS].concat())
        .await
        .unwrap();
    memory
}

/// The same on a database.
async fn bench_on(memory: Arc<dyn DocumentStore>) -> Bench {
    let store = Arc::new(Switched::new(memory));
    let (tell, published) = mpsc::unbounded_channel();
    let (essentials, deaths) = Essentials::new();
    let repository = RepositoryActor::new(RepositorySettings {
        store: store.clone(),
        collections: &[Account::COLLECTION],
        publisher: Probe(tell).start().recipient(),
        environment: Environment::real(),
        metrics: Metrics::new("test"),
        essential: essentials.guard("RepositoryActor"),
    })
    .start();
    repository.send(Begin).await.unwrap();
    Bench {
        repository,
        store,
        published,
        deaths,
    }
}

fn run(test: impl Future<Output = ()>) {
    System::new().block_on(async {
        let in_time = tokio::time::timeout(DEADLINE, test).await;
        in_time.expect("the test comes to its end");
    });
}

/// What a command is answered.
type Answer = tokio::task::JoinHandle<Result<Result<Vec<i32>, RepositoryError>, MailboxError>>;

/// Hands a command over; answered later.
fn execute(bench: &Bench, command: Add) -> Answer {
    let (turn, _) = Turn::new();
    actix::spawn(bench.repository.send(Execute::for_event(command, turn)))
}

#[test]
fn commands_on_one_document_are_decided_in_their_order_in_one_round() {
    run(async {
        let mut bench = bench().await;
        let id = CustomerId(Uuid::new_v4());
        // The first commit does not end, so the others wait and share the next.
        bench.store.switch(Mode::Silent);
        let answers: Vec<_> = (1..=4).map(|entry| execute(&bench, Add(id, entry))).collect();
        eventually(DEADLINE, "all are queued", async || {
            bench.repository.send(Find::<Account>::new([id])).await.is_ok()
        })
        .await;
        bench.store.switch(Mode::Works);
        for (entry, answer) in (1..=4).zip(answers) {
            let entries = answer.await.unwrap().unwrap().unwrap();
            assert_eq!(entries, (1..=entry).collect::<Vec<_>>());
        }
        let mut handed_over = Vec::new();
        while handed_over.len() < 4 {
            let publish = bench.published.recv().await.unwrap();
            handed_over.extend(publish.events.into_iter().map(|event| event.data));
        }
        let expected =
            [1, 2, 3, 4].map(|limit| format!("{{\"customerId\":\"{id}\",\"creditLimit\":{limit}.0}}"));
        assert_eq!(handed_over, expected, "in the order of the decisions");
    });
}

#[test]
fn few_commands_wait_for_the_round_in_flight_and_64_have_one_of_their_own() {
    run(async {
        let mut bench = bench().await;
        // Until it works again, no round ends.
        bench.store.switch(Mode::Silent);
        let mut answers = Vec::new();
        // No more at a time than a mailbox takes at once.
        for together in [1, 1, 15, 15, 15, 15, 2, 1, 2] {
            let commands = (0..together).map(|_| Add(CustomerId(Uuid::new_v4()), 1));
            answers.extend(commands.map(|command| execute(&bench, command)));
            eventually(DEADLINE, "they are queued", async || {
                bench
                    .repository
                    .send(Find::<Account>::new([CustomerId(Uuid::nil())]))
                    .await
                    .is_ok()
            })
            .await;
        }
        bench.store.switch(Mode::Works);
        for answer in answers {
            assert_eq!(answer.await.unwrap().unwrap(), Ok(vec![1]));
        }
        let mut rounds = Vec::new();
        for _ in 0..3 {
            rounds.push(bench.published.recv().await.unwrap().events.len());
        }
        rounds.sort_unstable();
        assert_eq!(rounds, [1, 2, 64], "the first, the last, and all between");
    });
}

#[test]
fn a_rule_that_panics_fails_only_its_command() {
    run(async {
        let bench = bench().await;
        let (id, other) = (CustomerId(Uuid::new_v4()), CustomerId(Uuid::new_v4()));
        bench.store.switch(Mode::Silent);
        let first = execute(&bench, Add(id, 1));
        let (bad, good, of_other) = (
            execute(&bench, Add(id, 13)),
            execute(&bench, Add(id, 2)),
            execute(&bench, Add(other, 3)),
        );
        bench.store.switch(Mode::Works);
        assert_eq!(first.await.unwrap().unwrap(), Ok(vec![1]));
        let failed = bad.await.unwrap().unwrap();
        assert!(matches!(failed, Err(RepositoryError::Panicked(_))), "{failed:?}");
        assert_eq!(
            good.await.unwrap().unwrap(),
            Ok(vec![1, 2]),
            "nothing of it is left behind"
        );
        assert_eq!(of_other.await.unwrap().unwrap(), Ok(vec![3]));
        let found = bench
            .repository
            .send(Find::<Account>::new([id]))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(found[0].entries, [1, 2]);
    });
}

#[test]
fn a_panic_in_the_middle_of_a_round_ends_the_repository_and_so_the_service() {
    run(async {
        let mut bench = bench().await;
        let answer = execute(&bench, Add(CustomerId(Uuid::new_v4()), 14))
            .await
            .unwrap();
        assert_eq!(
            answer,
            Ok(Err(RepositoryError::Stopping)),
            "nobody is left waiting"
        );
        assert_eq!(bench.deaths.recv().await, Some("RepositoryActor"));
    });
}

#[test]
fn a_request_gives_up_at_its_deadline_and_an_event_never() {
    run(async {
        let bench = bench().await;
        let (id, other) = (CustomerId(Uuid::new_v4()), CustomerId(Uuid::new_v4()));
        bench.store.switch(Mode::Fails);
        let of_event = execute(&bench, Add(id, 1));
        let permits = Arc::new(Semaphore::new(1));
        let permit = permits.clone().try_acquire_owned().unwrap();
        let deadline = Instant::now() + Duration::from_millis(30);
        let request = Execute::for_request(Add(other, 2), deadline, permit);
        let answer = bench.repository.send(request).await.unwrap();
        assert!(
            matches!(answer, Err(RepositoryError::Unavailable(_))),
            "{answer:?}"
        );
        assert_eq!(permits.available_permits(), 1, "its permit is given back");
        assert!(!of_event.is_finished());
        bench.store.switch(Mode::Works);
        assert_eq!(of_event.await.unwrap().unwrap(), Ok(vec![1]));
    });
}

#[test]
fn a_command_that_was_once_in_doubt_stays_in_doubt() {
    run(async {
        let bench = bench().await;
        let id = CustomerId(Uuid::new_v4());
        bench.store.switch(Mode::Doubtful);
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let deadline = Instant::now() + Duration::from_millis(300);
        let request = Execute::for_request(Add(id, 1), deadline, permit);
        let answer = actix::spawn(bench.repository.send(request));
        eventually(DEADLINE, "it is written", async || {
            let found = bench.store.behind().find("accounts", vec![id.0]).await;
            !found.unwrap().is_empty()
        })
        .await;
        bench.store.switch(Mode::Fails);
        let answer = answer.await.unwrap().unwrap();
        assert!(
            matches!(answer, Err(RepositoryError::OutcomeUnknown(_))),
            "it was written, whatever the tries after that say: {answer:?}"
        );
    });
}

#[test]
fn a_permit_is_held_until_the_event_is_in_the_log() {
    run(async {
        let mut bench = bench().await;
        let permits = Arc::new(Semaphore::new(1));
        let permit = permits.clone().try_acquire_owned().unwrap();
        let id = CustomerId(Uuid::new_v4());
        let request = Execute::for_request(Add(id, 1), Instant::now() + DEADLINE, permit);
        assert_eq!(bench.repository.send(request).await.unwrap(), Ok(vec![1]));
        let publish = bench.published.recv().await.unwrap();
        assert_eq!(permits.available_permits(), 0, "answered, but not announced yet");
        let drained = actix::spawn(bench.repository.send(Drain));
        settle(&publish, Fate::InLog);
        drop(publish);
        eventually(DEADLINE, "the permit is given back", async || {
            permits.available_permits() == 1
        })
        .await;
        drained.await.unwrap().unwrap();
        let left = bench
            .store
            .unpublished(OutboxQuery::oldest(Account::COLLECTION.name, 10))
            .await
            .unwrap();
        assert!(left.is_empty(), "drained: the outbox is empty");
    });
}

/// Tells that all of them ended so.
fn settle(publish: &Publish, fate: Fate) {
    let settled = publish.events.iter().map(|event| Settlement {
        event: event.id,
        fate,
    });
    publish.settled.send(settled.collect()).unwrap();
}

fn topic() -> TopicSettings {
    TopicSettings {
        name: "events".into(),
        partitions: 1,
        replication: 1,
        max_record_bytes: 1 << 20,
    }
}

fn event(customer: CustomerId, limit: i64) -> OutboxEvent {
    let changed = CreditLimitChanged {
        customer_id: customer,
        credit_limit: Money::units(limit),
    };
    OutboxEvent::new(
        &changed,
        customer,
        limit,
        "test",
        Timestamp(0),
        &EventContext::default(),
    )
}

#[test]
fn events_of_a_customer_keep_their_order_through_a_log_that_fails() {
    run(async {
        let memory: Arc<dyn EventLog> = Arc::new(EmbeddedLog::in_memory().unwrap());
        memory.prepare(vec![topic()]).await.unwrap();
        let log = Arc::new(Switched::new(memory));
        let (essentials, _) = Essentials::new();
        let publisher = PublisherActor::new(
            log.clone(),
            "events".into(),
            Environment::real(),
            Metrics::new("test"),
            essentials.guard("PublisherActor"),
        )
        .start();
        let customer = CustomerId(Uuid::new_v4());
        let hand_over = |limit| {
            let (settled, told) = mpsc::unbounded_channel();
            let events = vec![event(customer, limit)];
            publisher.do_send(Publish { events, settled });
            told
        };
        log.switch(Mode::Fails);
        let first: Vec<_> = (1..=3).map(hand_over).collect();
        // Answered behind the three, whose deliveries have begun by then.
        let check = publisher.send(shared::actors::essential::Check).await.unwrap();
        assert!(check.is_err_and(|reason| reason.contains("switched off")));
        log.switch(Mode::Works);
        let later: Vec<_> = (4..=6).map(hand_over).collect();
        for mut told in first.into_iter().chain(later) {
            let settled = told.recv().await.expect("each is settled");
            assert_eq!(settled[0].fate, Fate::InLog);
            assert_eq!(told.recv().await, None, "closed when all are settled");
        }
        let mut tail = log.tail("events", TailFrom::Beginning).await.unwrap();
        let mut ids = Vec::new();
        while ids.len() < 6 {
            let record = tail.recv().await.unwrap();
            ids.push(
                record
                    .headers
                    .into_iter()
                    .find(|header| header.name == "ce_id")
                    .unwrap()
                    .value,
            );
        }
        let expected = (1..=6).map(|limit| Some(event(customer, limit).id.to_string().into_bytes()));
        assert_eq!(ids, expected.collect::<Vec<_>>());
    });
}
