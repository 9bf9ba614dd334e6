//! The binaries of the services, for tests that run them as processes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

/// The binary of that name beside another one. `cargo test --workspace` has built them all side by
/// side; a test of one package has not, and would find an old one in its place: that is built anew.
pub fn binary(beside: &str, program: &str) -> PathBuf {
    let path = Path::new(beside).with_file_name(program);
    let built = changed(&path);
    if built.is_none() || built < newest_source() {
        let cargo = std::env::var_os("CARGO").expect("tests are run by cargo");
        let built = Command::new(cargo)
            .args(["build", "--quiet", "-p", program])
            .status();
        assert!(
            built.is_ok_and(|status| status.success()),
            "{program} cannot be built"
        );
    }
    path
}

fn changed(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|file| file.modified()).ok()
}

fn newest_source() -> Option<SystemTime> {
    fn newest(folder: PathBuf) -> Option<SystemTime> {
        let entries = fs::read_dir(folder).ok()?.filter_map(Result::ok);
        let times = entries.map(|entry| match entry.path() {
            path if path.is_dir() => newest(path),
            path => changed(&path),
        });
        times.max().flatten()
    }
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let sources = ["shared/src", "customers/src", "orders/src"].map(|of| newest(top.join(of)));
    sources.into_iter().max().flatten()
}
