use redb::{ReadableTableMetadata, TableDefinition};

use super::{
    failing_disk::{Directory, FailingDisk},
    *,
};

const TABLE: TableDefinition<u64, u64> = TableDefinition::new("table");

fn put(key: u64) -> impl FnOnce(&WriteTransaction) -> Result<(), redb::Error> + Send + 'static {
    move |transaction| {
        transaction.open_table(TABLE)?.insert(key, key)?;
        Ok(())
    }
}

fn count(engine: &Engine) -> u64 {
    engine
        .read(|transaction| Ok(transaction.open_table(TABLE)?.len()?))
        .unwrap()
}

#[tokio::test]
async fn writes_happen_in_the_order_of_the_calls() {
    let directory = Directory::new();
    let engine = Engine::open(&directory.file()).unwrap();
    let mut answers = Vec::new();
    for _ in 0..500 {
        answers.push(engine.write(|transaction| {
            let mut table = transaction.open_table(TABLE)?;
            let key = table.len()?;
            table.insert(key, key)?;
            Ok(key)
        }));
    }
    answers.reverse();
    for (index, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.await.unwrap(), 499 - index as u64);
    }
}

#[tokio::test]
async fn dropping_the_engine_finishes_what_is_queued() {
    let directory = Directory::new();
    let engine = Engine::open(&directory.file()).unwrap();
    for key in 0..200 {
        drop(engine.write(put(key)));
    }
    drop(engine);
    assert_eq!(count(&Engine::open(&directory.file()).unwrap()), 200);
}

#[test]
fn in_memory_a_job_runs_inside_the_call() {
    let engine = Engine::in_memory().unwrap();
    drop(engine.write(put(1)));
    assert_eq!(count(&engine), 1);
}

#[tokio::test]
async fn a_second_opening_is_refused_with_advice() {
    let directory = Directory::new();
    let _first = Engine::open(&directory.file()).unwrap();
    let message = Engine::open(&directory.file()).unwrap_err().to_string();
    assert!(
        message.contains("in use by another process") && message.contains("DATA_DIR"),
        "{message}"
    );
}

#[tokio::test]
async fn data_of_a_newer_version_is_refused() {
    let directory = Directory::new();
    let engine = Engine::open(&directory.file()).unwrap();
    engine
        .write(|transaction| {
            transaction
                .open_table(database::ENGINE_TABLE)?
                .insert(database::SCHEMA_KEY, database::SCHEMA_VERSION + 1)?;
            Ok(())
        })
        .await
        .unwrap();
    drop(engine);
    let error = Engine::open(&directory.file()).unwrap_err();
    assert!(matches!(error, EngineError::NewerSchema { .. }));
    assert!(
        error.to_string().contains("written by a newer version"),
        "{error}"
    );
}

#[test]
fn a_file_of_something_else_is_unfit() {
    let directory = Directory::new();
    fs::create_dir_all(&directory.0).unwrap();
    fs::write(directory.file(), vec![7u8; 8192]).unwrap();
    assert!(matches!(
        Engine::open(&directory.file()),
        Err(EngineError::Unfit(_))
    ));
}

#[tokio::test]
async fn a_panic_in_a_job_writes_nothing_and_the_writer_lives_on() {
    let directory = Directory::new();
    for engine in [
        Engine::open(&directory.file()).unwrap(),
        Engine::in_memory().unwrap(),
    ] {
        engine.write(put(1)).await.unwrap();
        let panicked: Result<(), _> = engine
            .write(|transaction| {
                transaction.open_table(TABLE)?.insert(2, 2)?;
                panic!("on purpose")
            })
            .await;
        assert!(matches!(panicked, Err(EngineError::Unavailable(_))));
        engine.write(put(3)).await.unwrap();
        assert_eq!(count(&engine), 2);
    }
}

#[tokio::test]
async fn a_full_disk_is_answered_as_an_error_and_is_survived() {
    let directory = Directory::new();
    let disk = FailingDisk::default();
    let engine = disk.engine(&directory.file());
    engine.write(put(1)).await.unwrap();

    disk.fail(usize::MAX);
    let failed = engine.write(put(2)).await;
    assert!(
        matches!(failed, Err(EngineError::OutcomeUnknown(_))),
        "{failed:?}"
    );
    assert!(engine.write(put(3)).await.is_err());
    assert!(engine.check().await.is_err());

    disk.fail(0);
    engine.check().await.unwrap();
    engine.write(put(4)).await.unwrap();
    drop(engine);
    let reopened = Engine::open(&directory.file()).unwrap();
    let found = |key| {
        reopened
            .read(|t| Ok(t.open_table(TABLE)?.get(key)?.is_some()))
            .unwrap()
    };
    assert!(found(1) && !found(3) && found(4));
}
