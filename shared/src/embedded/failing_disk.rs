//! A disk that can be made to fail, for tests of what the adapters do then.

use std::{
    fs::{self, File},
    io::{Error, ErrorKind},
    ops::Bound,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use redb::{BackendError, StorageBackend, backends::FileBackend};

use super::{Engine, EngineError, database};

/// A directory that is gone with it.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        Self(std::env::temp_dir().join(format!("engine-{}", uuid::Uuid::new_v4())))
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("test.redb")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Switches the failures of a disk on and off.
#[derive(Debug, Clone, Default)]
pub(crate) struct FailingDisk {
    failures: Arc<AtomicUsize>,
}

impl FailingDisk {
    /// The next so many changes fail, as on a full disk.
    pub(crate) fn fail(&self, changes: usize) {
        self.failures.store(changes, Ordering::SeqCst);
    }

    pub(crate) fn engine(&self, path: &Path) -> Engine {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let (path, failures) = (path.to_owned(), Arc::clone(&self.failures));
        Engine::with_opener(Box::new(move || {
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path);
            let file = FileBackend::new(file.unwrap()).unwrap();
            let failing = FailingFile {
                file,
                failures: Arc::clone(&failures),
            };
            database::builder()
                .create_with_backend(failing)
                .map_err(EngineError::unavailable)
        }))
        .unwrap()
    }
}

#[derive(Debug)]
struct FailingFile {
    file: FileBackend,
    failures: Arc<AtomicUsize>,
}

impl FailingFile {
    fn change(&self) -> Result<(), Error> {
        let fails = self
            .failures
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        match fails {
            Ok(_) => Err(Error::from(ErrorKind::StorageFull)),
            Err(_) => Ok(()),
        }
    }
}

impl StorageBackend for FailingFile {
    fn len(&self) -> Result<u64, Error> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        self.file.read(offset, out)
    }
    fn set_len(&self, len: u64) -> Result<(), Error> {
        self.change()?;
        self.file.set_len(len)
    }
    fn sync_data(&self) -> Result<(), Error> {
        self.change()?;
        self.file.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        self.change()?;
        self.file.write(offset, data)
    }
    fn close(&self) -> Result<(), Error> {
        self.file.close()
    }
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }
    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }
}
