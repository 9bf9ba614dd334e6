//! A disk that can be filled: a small file system in memory.
//!
//! Only root may mount one. Where it cannot be had (an ordinary user, a container without the right to
//! mount), its tests are skipped, also with `CI=true`: that is no tool that somebody forgot to install.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::Command,
    thread,
};

/// Mounted as long as it lives.
pub struct SmallDisk {
    pub path: PathBuf,
}

impl SmallDisk {
    /// So many megabytes at this path, which is made; `None`, said loudly, where nothing can be mounted.
    pub fn mount(path: &Path, megabytes: u32) -> Option<SmallDisk> {
        fs::create_dir_all(path).expect("a directory for the disk");
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(path)
            .output();
        let why = match mounted {
            Ok(output) if output.status.success() => {
                return Some(SmallDisk {
                    path: path.to_owned(),
                });
            }
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        let test = thread::current().name().unwrap_or("test").to_owned();
        // Past the harness, which shows what a passed test has printed only when asked to.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: {test}: needs to mount a small disk: {why}"
        );
        None
    }

    /// Takes all the space that is left, beside what was taken before.
    pub fn fill(&self) {
        let ballast = File::options().create(true).append(true).open(self.ballast());
        let mut ballast = ballast.expect("a file");
        for chunk in [1 << 20, 1 << 12] {
            let zeros = vec![0; chunk];
            loop {
                match ballast.write_all(&zeros) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    /// Gives it back.
    pub fn free(&self) {
        fs::remove_file(self.ballast()).expect("it was filled");
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // At once, whoever still has a file open there.
        let _ = Command::new("umount").arg("--lazy").arg(&self.path).status();
        let _ = fs::remove_dir(&self.path);
    }
}
