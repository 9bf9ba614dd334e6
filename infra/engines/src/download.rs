//! The cache of what was downloaded: complete or not there, and fetched by one process at a time.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use crate::error::StartError;
use crate::place::{self, doing};

/// The folder `name` of the cache, whether it is there or not.
pub(crate) fn path(name: &str) -> PathBuf {
    place::cache().join(name)
}

/// The folder `name` of the cache; filled by `fill` if it is not there.
///
/// It is filled under another name and renamed when complete, so that a half-finished download is
/// never taken for a whole one. The lock is the kernel's: it ends with its holder.
pub(crate) fn cached(
    name: &str,
    fill: impl FnOnce(&Path, &Path) -> Result<(), StartError>,
) -> Result<PathBuf, StartError> {
    let finished = path(name);
    if finished.is_dir() {
        return Ok(finished);
    }
    place::create(&place::cache())?;
    let lock_path = path(&format!("{name}.lock"));
    let lock = File::create(&lock_path).map_err(doing("create", &lock_path))?;
    if let Err(TryLockError::WouldBlock) = lock.try_lock() {
        eprintln!("engines: waiting for another process that is downloading {name} …");
        lock.lock().map_err(doing("lock", &lock_path))?;
    }
    if finished.is_dir() {
        return Ok(finished);
    }
    let partial = path(&format!("{name}.partial"));
    place::remove(&partial)?;
    place::create(&partial)?;
    fill(&partial, &path(&format!("{name}.log")))?;
    fs::rename(&partial, &finished).map_err(doing("complete", &finished))?;
    Ok(finished)
}
