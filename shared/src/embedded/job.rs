//! Jobs that wait for the writer, and the transaction that takes a batch of them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use redb::WriteTransaction;

use super::{EngineError, database::CurrentDatabase};

/// A job whose result type is forgotten.
pub(super) type BoxedJob = Box<dyn Job>;

pub(super) trait Job: Send {
    /// Runs it, once.
    fn run(&mut self, transaction: &WriteTransaction) -> Result<(), redb::Error>;
    /// Tells whoever asked what became of the transaction.
    fn finish(self: Box<Self>, outcome: Result<(), EngineError>);
}

pub(super) struct PendingJob<T, J, D> {
    job: Option<J>,
    result: Option<T>,
    done: D,
}

impl<T, J, D> PendingJob<T, J, D> {
    pub(super) fn new(job: J, done: D) -> Self {
        Self {
            job: Some(job),
            result: None,
            done,
        }
    }
}

impl<T, J, D> Job for PendingJob<T, J, D>
where
    T: Send,
    J: FnOnce(&WriteTransaction) -> Result<T, redb::Error> + Send,
    D: FnOnce(Result<T, EngineError>) + Send,
{
    fn run(&mut self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        if let Some(job) = self.job.take() {
            self.result = Some(job(transaction)?);
        }
        Ok(())
    }

    fn finish(self: Box<Self>, outcome: Result<(), EngineError>) {
        let Self { result, done, .. } = *self;
        done(outcome.and_then(|()| result.ok_or_else(EngineError::stopped)));
    }
}

/// All of it in one transaction, then an answer for each.
pub(super) fn run_batch(database: &CurrentDatabase, mut batch: Vec<BoxedJob>) {
    let outcome = catch_unwind(AssertUnwindSafe(|| commit(database, &mut batch))).unwrap_or_else(|_| {
        let error = EngineError::OutcomeUnknown("a commit panicked".to_owned());
        database.failed(&error);
        Err(error)
    });
    for job in batch {
        job.finish(outcome.clone());
    }
}

fn commit(database: &CurrentDatabase, batch: &mut [BoxedJob]) -> Result<(), EngineError> {
    let transaction = database
        .begin_write()
        .inspect_err(|error| database.failed(error))?;
    for job in batch {
        let cause = match catch_unwind(AssertUnwindSafe(|| job.run(&transaction))) {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => Some(EngineError::unavailable(error)),
            Err(_) => None,
        };
        let aborted = transaction.abort();
        let error = cause.clone().unwrap_or_else(|| {
            EngineError::Unavailable(
                "a write in the same transaction panicked; none of it was written".to_owned(),
            )
        });
        if cause.is_some() || aborted.is_err() {
            database.failed(&error);
        }
        return Err(error);
    }
    match transaction.commit() {
        Ok(()) => {
            database.committed();
            Ok(())
        }
        Err(error) => {
            let error = EngineError::from_commit(error);
            database.failed(&error);
            Err(error)
        }
    }
}
