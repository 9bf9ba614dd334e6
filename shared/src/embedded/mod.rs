//! The engine under both embedded adapters: one redb database, in a file or purely in memory.
//!
//! What it promises:
//!
//! - A write that was answered is durable: it survives `kill -9` and a power cut (one `fsync`).
//! - Writes happen in the order of the [`Engine::write`] calls, not of the first polls.
//! - Writes that arrive while a commit is under way share the next one. No timer: an idle engine
//!   commits at once and uses no processor, a busy one commits in batches.
//! - After an I/O error the database is opened again; it works on as soon as the disk does.
//!
//! In memory there is no thread either: a job runs inside the call, so a simulation on one thread
//! is deterministic.

use std::{
    fmt,
    fs::{self, File},
    future::Future,
    path::Path,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

use redb::{ReadTransaction, WriteTransaction, backends::InMemoryBackend};
use tokio::sync::oneshot;

mod database;
mod error;
#[cfg(test)]
pub(crate) mod failing_disk;
mod job;
#[cfg(test)]
mod tests;

pub use error::EngineError;

use database::{CurrentDatabase, Opener, Place};
use job::{BoxedJob, PendingJob, run_batch};

/// A database with one writer. Cheap to clone; the last clone that goes finishes what is queued and
/// closes the file.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    database: Arc<CurrentDatabase>,
    writer: Writer,
}

enum Writer {
    /// In memory: jobs run at the call.
    Inline,
    /// On disk: jobs run on a thread of their own, since `fsync` blocks.
    Thread {
        queue: Option<mpsc::Sender<BoxedJob>>,
        thread: Option<JoinHandle<()>>,
    },
}

impl Engine {
    /// Opens the file, or makes it and its directory. A file left by a crash is repaired, which
    /// reads all of it: redb's quick repair would spare that at the price of a second `fsync` in
    /// each commit.
    pub fn open(path: &Path) -> Result<Self, EngineError> {
        let directory = path.parent().unwrap_or(Path::new("."));
        let unavailable =
            |error: std::io::Error| EngineError::Unavailable(format!("{}: {error}", path.display()));
        fs::create_dir_all(directory).map_err(unavailable)?;
        let is_new = !path.exists();
        let engine = Self::with_opener(database::open_file(path))?;
        if is_new {
            // A file whose name is not yet durable would vanish in a power cut with all its content.
            File::open(directory)
                .and_then(|directory| directory.sync_all())
                .map_err(unavailable)?;
        }
        Ok(engine)
    }

    /// A database that lives as long as its last clone, without a thread.
    pub fn in_memory() -> Result<Self, EngineError> {
        let open: Opener = Box::new(|| {
            database::builder()
                .create_with_backend(InMemoryBackend::new())
                .map_err(EngineError::unavailable)
        });
        let inner = Inner {
            database: Arc::new(CurrentDatabase::open(Place::Memory, open)?),
            writer: Writer::Inline,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// On disk by other means than a plain file: for tests of failing disks.
    fn with_opener(open: Opener) -> Result<Self, EngineError> {
        let database = Arc::new(CurrentDatabase::open(Place::Disk, open)?);
        let (queue, jobs) = mpsc::channel::<BoxedJob>();
        let of_thread = Arc::clone(&database);
        let thread = thread::Builder::new()
            .name("embedded-writer".to_owned())
            .spawn(move || write_batches(&of_thread, &jobs))
            .map_err(|error| EngineError::Unavailable(format!("no thread for the writer: {error}")))?;
        let writer = Writer::Thread {
            queue: Some(queue),
            thread: Some(thread),
        };
        Ok(Self {
            inner: Arc::new(Inner { database, writer }),
        })
    }

    /// Runs a job inside the next transaction and answers when that is durable.
    ///
    /// The job shares the transaction with others, so it checks before it writes: a refusal of its
    /// own is a value and has written nothing. Its error, a panic, or a failed commit undoes the
    /// whole transaction, and everyone in it gets an error.
    pub fn write<T, J>(&self, job: J) -> impl Future<Output = Result<T, EngineError>> + Send + use<T, J>
    where
        T: Send + 'static,
        J: FnOnce(&WriteTransaction) -> Result<T, redb::Error> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        // Whoever asked may have gone meanwhile; the write stands all the same.
        self.submit(job, move |result| drop(answer.send(result)));
        async move { answered.await.unwrap_or_else(|_| Err(EngineError::stopped())) }
    }

    /// As [`Engine::write`], but tells a function, which runs before the next transaction begins.
    /// It must not block.
    pub fn submit<T, J, D>(&self, job: J, done: D)
    where
        T: Send + 'static,
        J: FnOnce(&WriteTransaction) -> Result<T, redb::Error> + Send + 'static,
        D: FnOnce(Result<T, EngineError>) + Send + 'static,
    {
        let job: BoxedJob = Box::new(PendingJob::new(job, done));
        match &self.inner.writer {
            Writer::Inline => run_batch(&self.inner.database, vec![job]),
            Writer::Thread { queue, .. } => {
                let unsent = match queue {
                    Some(queue) => queue.send(job).err().map(|mpsc::SendError(job)| job),
                    None => Some(job),
                };
                if let Some(job) = unsent {
                    job.finish(Err(EngineError::stopped()));
                }
            }
        }
    }

    /// Reads a snapshot of what is durable.
    pub fn read<T>(
        &self,
        look: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, EngineError> {
        let transaction = self.inner.database.begin_read()?;
        look(&transaction).map_err(EngineError::from_reading)
    }

    /// Whether it can be written. Costs nothing while it works; after a failure it tries.
    pub async fn check(&self) -> Result<(), EngineError> {
        if self.inner.database.is_healthy() {
            Ok(())
        } else {
            self.write(database::touch).await
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Writer::Thread { queue, thread } = &mut self.writer {
            drop(queue.take());
            if let Some(thread) = thread.take()
                // A callback may hold the last clone; the thread ends by itself then.
                && thread.thread().id() != thread::current().id()
                && thread.join().is_err()
            {
                log::error!("the writer of an embedded database panicked");
            }
        }
    }
}

/// The writer's thread: everything that is queued is one batch.
fn write_batches(database: &CurrentDatabase, jobs: &mpsc::Receiver<BoxedJob>) {
    while let Ok(first) = jobs.recv() {
        let mut batch = vec![first];
        batch.extend(jobs.try_iter());
        run_batch(database, batch);
    }
}
