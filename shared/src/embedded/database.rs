//! The redb database behind an engine, opened again after a failure.

use std::{
    path::Path,
    sync::{
        Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use redb::{
    Builder, Database, Durability, ReadTransaction, ReadableDatabase, SetDurabilityError, TableDefinition,
    TableError, WriteTransaction,
};

use super::EngineError;

/// Layout of everything the embedded adapters store. One more with each change an older version
/// could not read.
pub(super) const SCHEMA_VERSION: u64 = 1;
pub(super) const ENGINE_TABLE: TableDefinition<&str, u64> = TableDefinition::new("engine");
pub(super) const SCHEMA_KEY: &str = "schema";

/// Pages that redb keeps in memory, for each database. Its own default is 1 GiB.
const CACHE_BYTES: usize = 64 << 20;

/// Between two log lines about a database that goes on failing: a full disk is not to be filled
/// further by what is said about it.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// In memory each so-manieth commit is one that redb takes for durable. The others cost less than
/// half, but only a durable one lets redb use freed pages again.
const MEMORY_COMMITS_UNTIL_CLEANUP: u64 = 256;

/// Where a database lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Disk,
    Memory,
}

/// Opens the database, at the start and after each failure.
pub(super) type Opener = Box<dyn Fn() -> Result<Database, EngineError> + Send + Sync>;

pub(super) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

pub(super) fn open_file(path: &Path) -> Opener {
    let path = path.to_owned();
    Box::new(move || {
        builder()
            .create(&path)
            .map_err(|error| EngineError::from_opening(error, path.clone()))
    })
}

/// redb refuses everything after an I/O error until it is closed and opened again; this does so.
pub(super) struct CurrentDatabase {
    open: Opener,
    /// `None` while it could not be opened again.
    current: RwLock<Option<Database>>,
    /// The last commit succeeded. Opening proves little: a full disk can be opened and read.
    healthy: AtomicBool,
    trouble: Mutex<Option<Trouble>>,
    place: Place,
    /// Write transactions begun.
    begun: AtomicU64,
}

/// Since the first of several failures.
struct Trouble {
    since: Instant,
    last_line: Instant,
}

impl CurrentDatabase {
    pub(super) fn open(place: Place, open: Opener) -> Result<Self, EngineError> {
        let database = open()?;
        check_schema(&database)?;
        Ok(Self {
            open,
            current: RwLock::new(Some(database)),
            healthy: AtomicBool::new(true),
            trouble: Mutex::new(None),
            place,
            begun: AtomicU64::new(0),
        })
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Acquire)
    }

    pub(super) fn begin_read(&self) -> Result<ReadTransaction, EngineError> {
        self.with_current(|database| database.begin_read().map_err(EngineError::unavailable))
    }

    /// Opens it again first where it failed.
    pub(super) fn begin_write(&self) -> Result<WriteTransaction, EngineError> {
        if !self.is_open() {
            self.reopen()?;
        }
        // One-phase commit, redb's default: one `fsync`, after a crash the newest commit whose
        // checksums are right. Two-phase adds a second `fsync` against somebody who can order the
        // disk's writes at will, which is not what a data directory is exposed to.
        let mut transaction =
            self.with_current(|database| database.begin_write().map_err(EngineError::unavailable))?;
        let begun = self.begun.fetch_add(1, Ordering::Relaxed);
        if self.place == Place::Memory && !begun.is_multiple_of(MEMORY_COMMITS_UNTIL_CLEANUP) {
            transaction
                .set_durability(Durability::None)
                .map_err(|error: SetDurabilityError| EngineError::Unavailable(error.to_string()))?;
        }
        Ok(transaction)
    }

    /// After an error nothing more can be written: tries at once to open it again, so that reading
    /// goes on, and otherwise with the next write.
    pub(super) fn failed(&self, error: &EngineError) {
        self.healthy.store(false, Ordering::Release);
        let reopened = self.reopen();
        let now = Instant::now();
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *trouble {
            Some(trouble) if now - trouble.last_line < BETWEEN_LINES => return,
            Some(trouble) => trouble.last_line = now,
            None => {
                *trouble = Some(Trouble {
                    since: now,
                    last_line: now,
                })
            }
        }
        match reopened {
            Ok(()) => log::error!("an embedded database cannot be written: {error}"),
            Err(again) => log::error!("an embedded database cannot be opened again: {error}; then {again}"),
        }
    }

    /// A commit succeeded.
    pub(super) fn committed(&self) {
        if self.healthy.swap(true, Ordering::AcqRel) {
            return;
        }
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Trouble { since, .. }) = trouble {
            let seconds = since.elapsed().as_secs_f32();
            log::info!("an embedded database is written again after {seconds:.1} s");
        }
    }

    fn is_open(&self) -> bool {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    fn reopen(&self) -> Result<(), EngineError> {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        // The old one holds the lock on the file.
        drop(current.take());
        let database = (self.open)()?;
        check_schema(&database)?;
        *current = Some(database);
        Ok(())
    }

    fn with_current<T>(
        &self,
        use_it: impl FnOnce(&Database) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        match self
            .current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
        {
            Some(database) => use_it(database),
            None => Err(EngineError::Unavailable(
                "the embedded database could not be opened again".to_owned(),
            )),
        }
    }
}

/// A write that changes nothing, but has to find room on the disk as any other.
pub(super) fn touch(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction
        .open_table(ENGINE_TABLE)?
        .insert(SCHEMA_KEY, SCHEMA_VERSION)?;
    Ok(())
}

fn check_schema(database: &Database) -> Result<(), EngineError> {
    let found = {
        let transaction = database.begin_read().map_err(EngineError::unavailable)?;
        match transaction.open_table(ENGINE_TABLE) {
            Ok(table) => table
                .get(SCHEMA_KEY)
                .map_err(EngineError::unavailable)?
                .map(|found| found.value()),
            Err(TableError::TableDoesNotExist(_)) => None,
            Err(error) => return Err(EngineError::from_reading(error.into())),
        }
    };
    match found {
        Some(SCHEMA_VERSION) => Ok(()),
        Some(found) if found > SCHEMA_VERSION => Err(EngineError::NewerSchema {
            found,
            known: SCHEMA_VERSION,
        }),
        Some(found) => Err(EngineError::Unfit(format!(
            "the data has the layout {found}, which was never in use"
        ))),
        None => write_schema(database).map_err(EngineError::unavailable),
    }
}

fn write_schema(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    touch(&transaction)?;
    Ok(transaction.commit()?)
}
