//! Rounds: one command, document or outbox that makes trouble is soon alone.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bson::Document as Bson;
use shared::document_store::{Commit, Outcome, StoreError, Write};

use super::{
    support::{ScriptedStore, ago, foreign, written_by_another},
    *,
};

/// Waits until commands that were sent before are queued.
pub async fn queued(bench: &Bench) {
    eventually(DEADLINE, "all are queued", async || {
        let nobody = CustomerId(Uuid::nil());
        bench
            .repository
            .send(Find::<Account>::new([nobody]))
            .await
            .is_ok()
    })
    .await;
}

fn has_entry(write: &Write, entry: i32) -> bool {
    let document = Bson::try_from(write.document.as_ref()).unwrap();
    let entries = document.get_array("entries").unwrap();
    entries.iter().any(|found| found.as_i32() == Some(entry))
}

#[test]
fn a_command_that_the_database_refuses_for_good_fails_alone() {
    run(async {
        let mut scripted = ScriptedStore::new(store().await);
        scripted.commits = Box::new(|commit: &Commit| {
            let refused = commit.writes.iter().any(|write| has_entry(write, 666));
            refused.then(|| Err(StoreError::Rejected("it is too large".into())))
        });
        let bench = bench_on(Arc::new(scripted)).await;
        let (id, other) = (CustomerId(Uuid::new_v4()), CustomerId(Uuid::new_v4()));
        // The first round does not end, so the others share the next.
        bench.store.switch(Mode::Silent);
        let first = execute(&bench, Add(other, 1));
        let before = execute(&bench, Add(id, 1));
        let culprit = execute(&bench, Add(id, 666));
        let behind = execute(&bench, Add(id, 2));
        let others = [2, 3, 4].map(|entry| execute(&bench, Add(CustomerId(Uuid::new_v4()), entry)));
        queued(&bench).await;
        bench.store.switch(Mode::Works);
        assert_eq!(first.await.unwrap().unwrap(), Ok(vec![1]));
        for other in others {
            assert!(other.await.unwrap().unwrap().is_ok());
        }
        assert_eq!(before.await.unwrap().unwrap(), Ok(vec![1]));
        let refused = culprit.await.unwrap().unwrap();
        assert!(matches!(refused, Err(RepositoryError::Unfit(_))), "{refused:?}");
        assert_eq!(behind.await.unwrap().unwrap(), Ok(vec![1, 2]), "in their order");
    });
}

#[test]
fn a_contested_document_delays_no_other() {
    run(async {
        let contested = CustomerId(Uuid::new_v4());
        let fought_over = Arc::new(AtomicBool::new(true));
        let tries = Arc::new(AtomicUsize::new(0));
        let mut scripted = ScriptedStore::new(store().await);
        scripted.commits = Box::new({
            let (fought_over, tries) = (fought_over.clone(), tries.clone());
            move |commit: &Commit| {
                let touches = |write: &Write| write.key.id == contested.0;
                let conflicts = fought_over.load(Ordering::Relaxed) && commit.writes.iter().any(touches);
                tries.fetch_add(usize::from(conflicts), Ordering::Relaxed);
                conflicts.then(|| Ok(vec![Outcome::Conflict; commit.writes.len()]))
            }
        });
        let bench = bench_on(Arc::new(scripted)).await;
        let others = [(); 9].map(|()| CustomerId(Uuid::new_v4()));
        bench.store.switch(Mode::Silent);
        let first = execute(&bench, Add(others[0], 1));
        let of_contested = [1, 2].map(|entry| execute(&bench, Add(contested, entry)));
        let answers = others.map(|id| execute(&bench, Add(id, 7)));
        queued(&bench).await;
        bench.store.switch(Mode::Works);
        assert_eq!(first.await.unwrap().unwrap(), Ok(vec![1]));
        for answer in answers {
            assert!(answer.await.unwrap().unwrap().is_ok());
        }
        // They are free for further commands, too.
        let later = others.map(|id| execute(&bench, Add(id, 8)));
        for answer in later {
            assert!(answer.await.unwrap().unwrap().is_ok());
        }
        assert!(tries.load(Ordering::Relaxed) > 0);
        fought_over.store(false, Ordering::Relaxed);
        for (entries, answer) in [vec![1], vec![1, 2]].into_iter().zip(of_contested) {
            assert_eq!(answer.await.unwrap().unwrap(), Ok(entries), "in their order");
        }
    });
}

#[test]
fn a_document_with_too_many_unpublished_events_refuses_requests_but_no_events() {
    run(async {
        let bench = bench().await;
        let id = CustomerId(Uuid::new_v4());
        let events: Vec<_> = (0..1_001)
            .map(|version| foreign(id, version, ago(Duration::ZERO)))
            .collect();
        written_by_another(bench.store.behind(), id, vec![], &events).await;
        let permits = Arc::new(Semaphore::new(2));
        let request = |id| {
            let permit = permits.clone().try_acquire_owned().unwrap();
            Execute::for_request(Add(id, 1), Instant::now() + DEADLINE, permit)
        };
        let refused = bench.repository.send(request(id)).await.unwrap();
        assert!(
            matches!(&refused, Err(RepositoryError::Unavailable(why)) if why.contains("not published yet")),
            "{refused:?}"
        );
        let of_other = bench.repository.send(request(CustomerId(Uuid::new_v4()))).await;
        assert_eq!(of_other.unwrap(), Ok(vec![1]));
        assert_eq!(execute(&bench, Add(id, 1)).await.unwrap().unwrap(), Ok(vec![1]));
    });
}
