use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use redb::{BackendError, ReadableTableMetadata, StorageBackend, TableDefinition, backends::FileBackend};

use super::*;

const TABLE: TableDefinition<u64, u64> = TableDefinition::new("table");

struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("engine-{}", uuid::Uuid::new_v4())))
    }

    fn file(&self) -> PathBuf {
        self.0.join("test.redb")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

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

/// A file on a disk that can be made to fail.
#[derive(Debug)]
struct FailingDisk {
    file: FileBackend,
    full: Arc<AtomicBool>,
}

impl FailingDisk {
    fn check(&self) -> Result<(), std::io::Error> {
        if self.full.load(Ordering::Relaxed) {
            return Err(std::io::Error::from(std::io::ErrorKind::StorageFull));
        }
        Ok(())
    }
}

impl StorageBackend for FailingDisk {
    fn len(&self) -> Result<u64, std::io::Error> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
        self.file.read(offset, out)
    }
    fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
        self.check()?;
        self.file.set_len(len)
    }
    fn sync_data(&self) -> Result<(), std::io::Error> {
        self.check()?;
        self.file.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
        self.check()?;
        self.file.write(offset, data)
    }
    fn close(&self) -> Result<(), std::io::Error> {
        self.file.close()
    }
    fn try_lock_range(
        &self,
        start: std::ops::Bound<u64>,
        end: std::ops::Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }
    fn unlock_range(
        &self,
        start: std::ops::Bound<u64>,
        end: std::ops::Bound<u64>,
    ) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }
}

#[tokio::test]
async fn a_full_disk_is_answered_as_an_error_and_is_survived() {
    let directory = Directory::new();
    fs::create_dir_all(&directory.0).unwrap();
    let full = Arc::new(AtomicBool::new(false));
    let (path, of_disk) = (directory.file(), Arc::clone(&full));
    let engine = Engine::with_opener(Box::new(move || {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let file = FileBackend::new(file.unwrap()).unwrap();
        let disk = FailingDisk {
            file,
            full: Arc::clone(&of_disk),
        };
        database::builder()
            .create_with_backend(disk)
            .map_err(EngineError::unavailable)
    }))
    .unwrap();
    engine.write(put(1)).await.unwrap();

    full.store(true, Ordering::Relaxed);
    let failed = engine.write(put(2)).await;
    assert!(
        matches!(failed, Err(EngineError::OutcomeUnknown(_))),
        "{failed:?}"
    );
    assert!(engine.write(put(3)).await.is_err());
    assert!(engine.check().await.is_err());

    full.store(false, Ordering::Relaxed);
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
