//! One account of events: who hands what over, and when it leaves its outbox.

use std::{collections::BTreeSet, sync::Mutex};

use shared::{
    document_store::{Mark, StoreError},
    event_log::Record,
    events::EventId,
};

use super::{
    rounds::queued,
    support::{Fate as Told, ScriptedLog, ScriptedStore, ago, foreign, outbox_of, written_by_another},
    *,
};

/// Adds an entry because of a record of the log.
struct AddBecause(CustomerId, i32);

impl Command for AddBecause {
    type Workspace = Accounts;
    type Reply = Vec<i32>;

    fn documents(&self) -> Vec<DocumentKey> {
        vec![key::<Account>(self.0)]
    }

    fn decide(&self, documents: &mut Accounts, now: Timestamp) -> Vec<i32> {
        let AddBecause(id, entry) = *self;
        let known = documents.accounts.get(id).cloned();
        let mut account = known.unwrap_or(Account { id, entries: vec![] });
        account.entries.push(entry);
        let entries = account.entries.clone();
        let mut event = event(id, entry.into());
        event.time = now;
        event.context.causation_id = Some("a record of the log".into());
        documents.accounts.put(account, [event]);
        entries
    }

    fn committed(&self, _: &Vec<i32>) {}
}

/// The events that were handed over until nothing more comes by itself.
fn handed_over(bench: &mut Bench) -> Vec<EventId> {
    let mut ids = Vec::new();
    while let Ok(publish) = bench.published.try_recv() {
        ids.extend(publish.events.iter().map(|event| event.id));
    }
    ids
}

#[test]
fn what_another_instance_announced_a_moment_ago_is_left_to_it() {
    run(async {
        let mut bench = bench().await;
        let id = CustomerId(Uuid::new_v4());
        let theirs = foreign(id, 1, ago(Duration::ZERO));
        written_by_another(bench.store.behind(), id, vec![1], std::slice::from_ref(&theirs)).await;
        let (turn, _) = Turn::new();
        let command = Execute::for_event(AddBecause(id, 2), turn);
        assert_eq!(bench.repository.send(command).await.unwrap(), Ok(vec![1, 2]));
        let publish = bench.published.recv().await.unwrap();
        let ours: Vec<_> = publish.events.iter().map(|event| event.id).collect();
        assert_eq!(ours, [event(id, 2).id], "caused by the log: it goes at once");
        settle(&publish, Fate::InLog);
        eventually(DEADLINE, "only theirs is left", async || {
            outbox_of(bench.store.behind(), id).await == [theirs.clone()]
        })
        .await;
        assert_eq!(handed_over(&mut bench), []);
    });
}

#[test]
fn the_event_of_a_request_waits_for_earlier_ones_of_others() {
    run(async {
        let mut bench = bench().await;
        let id = CustomerId(Uuid::new_v4());
        let theirs = foreign(id, 1, ago(Duration::ZERO));
        written_by_another(bench.store.behind(), id, vec![1], std::slice::from_ref(&theirs)).await;
        assert_eq!(
            execute(&bench, Add(id, 2)).await.unwrap().unwrap(),
            Ok(vec![1, 2])
        );
        // A second one waits behind the first.
        assert_eq!(
            execute(&bench, Add(id, 3)).await.unwrap().unwrap(),
            Ok(vec![1, 2, 3])
        );
        assert_eq!(handed_over(&mut bench), []);
        let mark = Mark {
            key: key::<Account>(id),
            events: vec![theirs.id],
        };
        bench.store.behind().mark_published(vec![mark]).await.unwrap();
        let publish = bench.published.recv().await.unwrap();
        let versions: Vec<_> = publish.events.iter().map(|event| event.id).collect();
        assert_eq!(versions, [event(id, 2).id, event(id, 3).id], "in their order");
    });
}

#[test]
fn what_nobody_publishes_goes_out_before_the_next_event_of_its_document() {
    run(async {
        let mut bench = bench().await;
        let id = CustomerId(Uuid::new_v4());
        // Old enough, and written after the first sweep, so that no sweep is as fast as the request.
        let orphan = foreign(id, 1, ago(Duration::from_secs(60)));
        written_by_another(bench.store.behind(), id, vec![1], std::slice::from_ref(&orphan)).await;
        assert_eq!(
            execute(&bench, Add(id, 2)).await.unwrap().unwrap(),
            Ok(vec![1, 2])
        );
        let (mut ids, mut under_way) = (Vec::new(), Vec::new());
        while ids.last() != Some(&event(id, 2).id) {
            let publish = bench.published.recv().await.unwrap();
            ids.extend(publish.events.iter().map(|event| event.id));
            under_way.push(publish);
        }
        assert_eq!(ids, [orphan.id, event(id, 2).id]);
    });
}

#[test]
fn a_refused_event_stays_in_its_outbox_when_a_later_one_of_its_document_is_confirmed() {
    run(async {
        let mut bench = bench().await;
        let id = CustomerId(Uuid::new_v4());
        for entry in [1, 2] {
            assert!(execute(&bench, Add(id, entry)).await.unwrap().unwrap().is_ok());
        }
        let first = bench.published.recv().await.unwrap();
        let second = bench.published.recv().await.unwrap();
        settle(&first, Fate::Refused);
        settle(&second, Fate::InLog);
        eventually(DEADLINE, "the second is marked", async || {
            outbox_of(bench.store.behind(), id).await.len() == 1
        })
        .await;
        assert_eq!(outbox_of(bench.store.behind(), id).await, first.events);
        // A sweep tries it again; once it is taken, it leaves too.
        let again = bench.published.recv().await.unwrap();
        assert_eq!(again.events, first.events);
        settle(&again, Fate::InLog);
        eventually(DEADLINE, "it is marked", async || {
            outbox_of(bench.store.behind(), id).await.is_empty()
        })
        .await;
    });
}

#[test]
fn the_sweep_takes_the_oldest_first_to_the_end_past_the_young_and_the_unreadable() {
    run(async {
        let store = store().await;
        let mut old = BTreeSet::new();
        for number in 0..2_100 {
            let id = CustomerId(Uuid::new_v4());
            let age = Duration::from_secs(if number % 2 == 0 { 60 } else { 120 });
            let mut event = foreign(id, 1, ago(age));
            if number % 300 == 0 {
                // An amount where a text belongs, as a hand may leave it: the whole outbox is unreadable.
                event.data = String::new();
                let commit = Uuid::new_v4();
                let mut document = bson::Document::try_from(
                    shared::document_store::encode(&Account { id, entries: vec![] }, 1, commit, &[event])
                        .unwrap()
                        .as_ref(),
                )
                .unwrap();
                let entry = document.get_array_mut("outbox").unwrap()[0].as_document_mut();
                entry.unwrap().insert("data", 7);
                let write = shared::document_store::Write {
                    key: key::<Account>(id),
                    expected_version: None,
                    document: bson::RawDocumentBuf::try_from(&document).unwrap().into(),
                    carried: vec![],
                };
                let commit = shared::document_store::Commit {
                    id: commit,
                    atomic: false,
                    writes: vec![write],
                };
                store.commit(commit).await.unwrap();
            } else {
                old.insert((event.time, event.id));
                written_by_another(&*store, id, vec![], std::slice::from_ref(&event)).await;
            }
        }
        let young = CustomerId(Uuid::new_v4());
        let event = foreign(young, 1, ago(Duration::ZERO));
        written_by_another(&*store, young, vec![], std::slice::from_ref(&event)).await;
        let mut bench = bench_on(store).await;
        let mut swept = Vec::new();
        while swept.len() < old.len() {
            let publish = bench.published.recv().await.unwrap();
            settle(&publish, Fate::InLog);
            swept.extend(publish.events.iter().map(|event| (event.time, event.id)));
        }
        assert!(swept.is_sorted_by_key(|(time, _)| *time), "the oldest first");
        assert_eq!(swept.into_iter().collect::<BTreeSet<_>>(), old);
    });
}

#[test]
fn a_mark_that_fails_is_set_again_and_nothing_is_published_twice() {
    run(async {
        let failures = Mutex::new(3);
        let mut scripted = ScriptedStore::new(store().await);
        scripted.marks = Box::new(move |_| {
            let mut left = failures.lock().unwrap();
            *left -= i32::from(*left > 0);
            (*left > 0).then(|| Err(StoreError::OutcomeUnknown("meant by the test".into())))
        });
        let mut bench = bench_on(Arc::new(scripted)).await;
        let id = CustomerId(Uuid::new_v4());
        assert!(execute(&bench, Add(id, 1)).await.unwrap().unwrap().is_ok());
        settle(&bench.published.recv().await.unwrap(), Fate::InLog);
        eventually(DEADLINE, "it is marked", async || {
            outbox_of(bench.store.behind(), id).await.is_empty()
        })
        .await;
        assert_eq!(handed_over(&mut bench), []);
    });
}

#[test]
fn a_permit_is_given_back_when_the_events_of_its_own_command_are_settled() {
    run(async {
        let mut bench = bench().await;
        let permits = Arc::new(Semaphore::new(2));
        // The first round does not end, so both requests share the next.
        bench.store.switch(Mode::Silent);
        let first = execute(&bench, Add(CustomerId(Uuid::new_v4()), 1));
        queued(&bench).await;
        let requests = [2, 3].map(|entry| {
            let permit = permits.clone().try_acquire_owned().unwrap();
            let add = Add(CustomerId(Uuid::new_v4()), entry);
            let request = Execute::for_request(add, Instant::now() + DEADLINE, permit);
            actix::spawn(bench.repository.send(request))
        });
        queued(&bench).await;
        bench.store.switch(Mode::Works);
        assert!(first.await.unwrap().unwrap().is_ok());
        for request in requests {
            assert!(request.await.unwrap().unwrap().is_ok());
        }
        settle(&bench.published.recv().await.unwrap(), Fate::InLog);
        let both = bench.published.recv().await.unwrap();
        assert_eq!((both.events.len(), permits.available_permits()), (2, 0));
        let settlement = |index: usize| Settlement {
            event: both.events[index].id,
            fate: Fate::InLog,
        };
        both.settled.send(vec![settlement(1)]).unwrap();
        eventually(DEADLINE, "one permit is given back", async || {
            permits.available_permits() == 1
        })
        .await;
        both.settled.send(vec![settlement(0)]).unwrap();
        eventually(DEADLINE, "the other permit is given back", async || {
            permits.available_permits() == 2
        })
        .await;
    });
}

fn publisher(
    script: impl Fn(&Record) -> Option<Told> + Send + Sync + 'static,
) -> (Arc<ScriptedLog>, Addr<PublisherActor>, Metrics) {
    let log = Arc::new(ScriptedLog {
        taken: Mutex::default(),
        script: Box::new(script),
    });
    let (essentials, _) = Essentials::new();
    let metrics = Metrics::new("test");
    let publisher = PublisherActor::new(
        log.clone(),
        "events".into(),
        Environment::real(),
        metrics.clone(),
        essentials.guard("PublisherActor"),
    );
    (log, publisher.start(), metrics)
}

#[test]
fn each_delivery_is_settled_by_itself() {
    run(async {
        let [stuck, refused, taken] = [(); 3].map(|()| CustomerId(Uuid::new_v4()));
        let of = |record: &Record, customer: CustomerId| {
            record.key.as_deref() == Some(customer.to_string().as_bytes())
        };
        let (_, publisher, _) = publisher(move |record| {
            if of(record, stuck) {
                Some(Told::NoAnswer)
            } else {
                of(record, refused).then_some(Told::Refused)
            }
        });
        let (settled, mut told) = mpsc::unbounded_channel();
        // Of the stuck one a second event waits; of the refused one the second is tried all the same.
        let events = [
            (stuck, 1),
            (stuck, 2),
            (refused, 1),
            (refused, 2),
            (taken, 1),
            (taken, 2),
        ];
        publisher.do_send(Publish {
            events: events.map(|(customer, limit)| event(customer, limit)).to_vec(),
            settled,
        });
        let mut fates = Vec::new();
        while fates.len() < 4 {
            let settled = told.recv().await.expect("two are not settled");
            fates.extend(settled.into_iter().map(|settled| (settled.event, settled.fate)));
        }
        let in_log = |(event, fate): (EventId, Fate)| (fate == Fate::InLog).then_some(event);
        let in_log: Vec<_> = fates.into_iter().filter_map(in_log).collect();
        assert_eq!(in_log, [event(taken, 1).id, event(taken, 2).id]);
        // Others that come later do not wait for the stuck one either.
        let (settled, mut told) = mpsc::unbounded_channel();
        let events = vec![event(taken, 3)];
        publisher.do_send(Publish { events, settled });
        assert_eq!(told.recv().await.map(|settled| settled.len()), Some(1));
        assert_eq!(told.recv().await, None);
    });
}

#[test]
fn a_dead_letter_goes_out_as_it_is_and_is_counted() {
    run(async {
        let (log, publisher, metrics) = publisher(|_| None);
        let letter = Record {
            topic: "events.dead-letters".into(),
            key: Some(vec![0xff, 0]),
            value: Some(vec![0xfe; 3 << 20]),
            headers: vec![shared::envelope::text_header("dl-reason", "Malformed")],
        };
        let (settled, mut told) = mpsc::unbounded_channel();
        let id = EventId::of(Uuid::new_v4(), "DeadLetter", 1);
        publisher.do_send(Publish {
            events: vec![OutboxEvent::letter(id, &letter, Timestamp(0))],
            settled,
        });
        let fate = Fate::InLog;
        assert_eq!(told.recv().await, Some(vec![Settlement { event: id, fate }]));
        assert_eq!(*log.taken.lock().unwrap(), [letter]);
        let text = metrics.text();
        assert!(text.contains(r#"dead_letters_total{reason="Malformed",service="test"} 1"#));
        assert!(!text.contains("events_published_total{"), "it is no event");
    });
}

/// A repository with a publisher of its own, as each instance has it.
async fn instance(store: Arc<dyn DocumentStore>, log: Arc<ScriptedLog>) -> Addr<RepositoryActor<Accounts>> {
    let (essentials, _) = Essentials::new();
    let publisher = PublisherActor::new(
        log,
        "events".into(),
        Environment::real(),
        Metrics::new("test"),
        essentials.guard("PublisherActor"),
    );
    let repository = RepositoryActor::new(RepositorySettings {
        store,
        collections: &[Account::COLLECTION],
        publisher: publisher.start().recipient(),
        environment: Environment::real(),
        metrics: Metrics::new("test"),
        essential: essentials.guard("RepositoryActor"),
    })
    .start();
    repository.send(Begin).await.unwrap();
    repository
}

#[test]
fn with_two_instances_and_no_fault_no_event_is_published_twice_and_each_in_its_order() {
    run(async {
        let store = store().await;
        let (log, ..) = publisher(|_| None);
        let instances = [
            instance(store.clone(), log.clone()).await,
            instance(store.clone(), log.clone()).await,
        ];
        let customers = [(); 20].map(|()| CustomerId(Uuid::new_v4()));
        for entry in 1..=6_usize {
            let deadline = Instant::now() + DEADLINE;
            let permits = Arc::new(Semaphore::new(customers.len()));
            let answers = customers.map(|id| {
                let permit = permits.clone().try_acquire_owned().unwrap();
                let add = Add(id, i32::try_from(entry).unwrap());
                let request = Execute::for_request(add, deadline, permit);
                actix::spawn(instances[entry % 2].send(request))
            });
            for answer in answers {
                assert_eq!(answer.await.unwrap().unwrap().unwrap().len(), entry);
            }
        }
        // Longer than foreign events are young, so that sweeps would have found what is left.
        eventually(DEADLINE, "all outboxes are empty", async || {
            let query = OutboxQuery::oldest(Account::COLLECTION.name, 10);
            store.unpublished(query).await.unwrap().is_empty()
        })
        .await;
        for instance in &instances {
            instance.send(Drain).await.unwrap();
        }
        let taken = log.taken.lock().unwrap();
        for id in customers {
            let key = id.to_string().into_bytes();
            let of_customer = taken.iter().filter(|record| record.key.as_ref() == Some(&key));
            let text = |value: Option<Vec<u8>>| String::from_utf8(value.unwrap()).unwrap();
            let values: Vec<_> = of_customer.map(|record| text(record.value.clone())).collect();
            let expected = (1..=6).map(|limit| text(event(id, limit).record("events").value));
            assert_eq!(values, expected.collect::<Vec<_>>());
        }
    });
}
