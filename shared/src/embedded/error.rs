//! What can go wrong with the engine.

use std::{io::ErrorKind, path::PathBuf};

use redb::{CommitError, DatabaseError, StorageError};

/// Why a database was not opened, read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// Another process, or another handle in this one, has it open.
    #[error(
        "the data directory is in use by another process ({}): stop that process, or give this one a data directory of its own (DATA_DIR)",
        path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// What is stored has a layout that this version does not know.
    #[error(
        "the data was written by a newer version (its layout is {found}, this version knows {known}): run that version, or use another data directory"
    )]
    NewerSchema {
        /// The layout found.
        found: u64,
        /// The newest layout known here.
        known: u64,
    },
    /// It did not happen: nothing was written.
    #[error("{0}")]
    Unavailable(String),
    /// The disk failed during the commit: it may have happened or not, as a whole.
    #[error("the disk failed during a commit: {0}")]
    OutcomeUnknown(String),
    /// What is stored cannot be understood; somebody has to act.
    #[error("{0}")]
    Unfit(String),
}

impl EngineError {
    pub(crate) fn stopped() -> Self {
        Self::Unavailable("the embedded database is closed".to_owned())
    }

    pub(super) fn unavailable(error: impl Into<redb::Error>) -> Self {
        Self::Unavailable(error.into().to_string())
    }

    pub(super) fn from_opening(error: DatabaseError, path: PathBuf) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => Self::InUse { path },
            DatabaseError::Storage(StorageError::Io(ref io)) if io.kind() == ErrorKind::InvalidData => {
                Self::Unfit(format!("{} is not a database of ours: {error}", path.display()))
            }
            DatabaseError::Storage(StorageError::Corrupted(_)) | DatabaseError::UpgradeRequired(_) => {
                Self::Unfit(format!("{}: {error}", path.display()))
            }
            other => Self::Unavailable(format!("{}: {other}", path.display())),
        }
    }

    pub(super) fn from_reading(error: redb::Error) -> Self {
        match error {
            redb::Error::Corrupted(_)
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TypeDefinitionChanged { .. }
            | redb::Error::TableDoesNotExist(_) => Self::Unfit(error.to_string()),
            other => Self::unavailable(other),
        }
    }

    pub(super) fn from_commit(error: CommitError) -> Self {
        match error {
            // Rolled back as a whole.
            CommitError::TransactionPoisoned => Self::unavailable(error),
            other => Self::OutcomeUnknown(other.to_string()),
        }
    }
}
