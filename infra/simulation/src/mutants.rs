//! Faults that are built into a copy of the sources on purpose, to prove that they would be found: each
//! is a patch in `infra/simulation/mutants` that says which invariant catches it.
//!
//! The copy stands in `target/mutants` and is built there; in `CARGO_TARGET_DIR` where that is set, so
//! that dependencies which stand there need not be built once more. The copy has another version than
//! the workspace: to cargo, packages of the same name and version at the same place of a workspace are
//! the same, and the next build of the product there would take over what was built with a fault.
//!
//! The product itself has no switch for any of them.
//!
//! A patch begins with what it does, and with these two lines:
//!
//! ```text
//! Caught-By: I15
//! Within: 200
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use clap::Args;

/// Plays mutants.
#[derive(Debug, Args)]
pub struct Mutants {
    /// Only those whose file names contain this
    #[arg(default_value = "")]
    named: String,
    /// Only so many, chosen by `--seed`; all by default
    #[arg(long, value_name = "COUNT")]
    only: Option<usize>,
    /// Chooses those of `--only`
    #[arg(long, default_value_t = 0, requires = "only")]
    seed: u64,
    /// Threads to play seeds on; all of the machine's by default
    #[arg(long)]
    threads: Option<usize>,
}

/// A patch, and what is said of it.
#[derive(Debug, PartialEq, Eq)]
struct Mutant {
    patch: PathBuf,
    caught_by: String,
    within: u64,
}

impl Mutant {
    fn read(patch: PathBuf) -> io::Result<Mutant> {
        let text = fs::read_to_string(&patch)?;
        let field = |name: &str| {
            let value = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            value
                .map(str::trim)
                .ok_or_else(|| io::Error::other(format!("{} has no line `{name}: …`", patch.display())))
        };
        let within = field("Within")?.parse();
        Ok(Mutant {
            caught_by: field("Caught-By")?.to_owned(),
            within: within.map_err(io::Error::other)?,
            patch,
        })
    }

    fn name(&self) -> String {
        let name = self.patch.file_stem().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}

impl Mutants {
    /// Builds each and plays it; not well if one is not caught.
    pub fn run(&self, say: impl Fn(&str)) -> ExitCode {
        match self.play(&say) {
            Ok(missed) if missed.is_empty() => ExitCode::SUCCESS,
            Ok(missed) => {
                say(&format!("not caught: {}", missed.join(", ")));
                ExitCode::FAILURE
            }
            Err(error) => {
                say(&format!("mutants cannot be played: {error}"));
                ExitCode::FAILURE
            }
        }
    }

    fn play(&self, say: &impl Fn(&str)) -> io::Result<Vec<String>> {
        let workspace = workspace()?;
        let mut patches: Vec<_> = fs::read_dir(workspace.join("infra/simulation/mutants"))?
            .map(|entry| Ok(entry?.path()))
            .collect::<io::Result<_>>()?;
        patches.retain(|path| path.extension().is_some_and(|extension| extension == "patch"));
        patches.sort();
        let mutants = patches.into_iter().map(Mutant::read);
        let mutants = mutants.collect::<io::Result<Vec<_>>>()?;
        let mut missed = Vec::new();
        for mutant in self.chosen(mutants) {
            let begin = Instant::now();
            let how = self.play_one(&workspace, &mutant)?;
            let seconds = begin.elapsed().as_secs();
            say(&format!("{}: {how} ({seconds} s)", mutant.name()));
            if !matches!(how, How::Caught(_)) {
                missed.push(mutant.name());
            }
        }
        Ok(missed)
    }

    /// Those that were asked for.
    fn chosen(&self, mut mutants: Vec<Mutant>) -> Vec<Mutant> {
        mutants.retain(|mutant| mutant.name().contains(&self.named));
        if let Some(count) = self.only {
            fastrand::Rng::with_seed(self.seed).shuffle(&mut mutants);
            mutants.truncate(count);
        }
        mutants
    }

    fn play_one(&self, workspace: &Path, mutant: &Mutant) -> io::Result<How> {
        let place = workspace.join("target/mutants");
        let sources = place.join("sources");
        let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        let target = target.unwrap_or_else(|| place.join("target"));
        copy(workspace, &sources)?;
        let apply = Command::new("git")
            // The copy is no part of the repository that it lies in.
            .env("GIT_CEILING_DIRECTORIES", &place)
            .current_dir(&sources)
            .arg("apply")
            .arg(&mutant.patch)
            .output()?;
        if !apply.status.success() {
            return Ok(How::DoesNotApply(text(&apply.stderr)));
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let build = Command::new(cargo)
            .current_dir(&sources)
            .env("CARGO_TARGET_DIR", &target)
            .args(["build", "--quiet", "--package", "simulation"])
            .stdout(Stdio::null())
            .output()?;
        if !build.status.success() {
            return Ok(How::DoesNotCompile(text(&build.stderr)));
        }
        let mut play = Command::new(target.join("debug/simulation"));
        play.args([
            "--until",
            &mutant.caught_by,
            "--seeds",
            &mutant.within.to_string(),
        ]);
        if let Some(threads) = self.threads {
            play.args(["--threads", &threads.to_string()]);
        }
        let played = play.output()?;
        Ok(match played.status.success() {
            true => How::Caught(text(&played.stdout)),
            false => How::Missed(text(&played.stdout)),
        })
    }
}

/// What became of a mutant.
enum How {
    Caught(String),
    Missed(String),
    DoesNotApply(String),
    DoesNotCompile(String),
}

impl std::fmt::Display for How {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            How::Caught(how) => write!(f, "caught, {how}"),
            How::Missed(why) => write!(f, "NOT CAUGHT: {why}"),
            How::DoesNotApply(why) => write!(f, "the patch does not apply: {why}"),
            How::DoesNotCompile(why) => write!(f, "it does not compile: {why}"),
        }
    }
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).trim().to_owned()
}

fn workspace() -> io::Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace = here.ancestors().nth(2);
    workspace
        .map(Path::to_owned)
        .ok_or_else(|| io::Error::other("there is no workspace"))
}

/// Copies what is under version control or could be, as it stands now. What has not changed keeps its
/// time, so it is not built again.
fn copy(workspace: &Path, to: &Path) -> io::Result<()> {
    let list = Command::new("git")
        .current_dir(workspace)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output()?;
    if !list.status.success() {
        return Err(io::Error::other(text(&list.stderr)));
    }
    let list = String::from_utf8(list.stdout).map_err(io::Error::other)?;
    let files: Vec<_> = list
        .split('\0')
        .filter(|file| !file.is_empty())
        .map(Path::new)
        .collect();
    for file in &files {
        let (from, to) = (workspace.join(file), to.join(file));
        // One that was removed and not committed yet is still listed.
        let Ok(mut content) = fs::read(&from) else {
            let _ = fs::remove_file(&to);
            continue;
        };
        if *file == Path::new("Cargo.toml") {
            content = of_another_version(&text(&content))?.into_bytes();
        }
        if fs::read(&to).is_ok_and(|there| there == content) {
            continue;
        }
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&to, content)?;
    }
    Ok(())
}

/// The manifest of a workspace whose packages are not taken for those of the product.
fn of_another_version(manifest: &str) -> io::Result<String> {
    let (before, version) = manifest
        .split_once("\nversion = \"")
        .ok_or_else(|| io::Error::other("the workspace says no version"))?;
    Ok(format!("{before}\nversion = \"{ANOTHER_VERSION}{version}\n"))
}

/// Before the version of the product: no product has that many.
const ANOTHER_VERSION: &str = "1000";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_has_another_version_than_the_product() {
        let manifest = "[workspace.package]\nversion = \"0.1.0\"\n\n[workspace.dependencies]\nuuid = { version = \"1\" }";
        let copied = of_another_version(manifest).expect("a version");
        assert_eq!(copied, manifest.replace("0.1.0", "10000.1.0") + "\n");
    }

    #[test]
    fn a_seed_chooses_the_same_mutants_each_time() {
        let chosen = |seed| {
            let asked = Mutants {
                named: "m".to_owned(),
                only: Some(2),
                seed,
                threads: None,
            };
            let mutant = |number| Mutant {
                patch: PathBuf::from(format!("m{number}.patch")),
                caught_by: "I1".to_owned(),
                within: 1,
            };
            let chosen = asked.chosen((0..30).map(mutant).collect());
            chosen.iter().map(Mutant::name).collect::<Vec<_>>()
        };
        assert_eq!(chosen(1).len(), 2);
        assert_eq!(chosen(1), chosen(1));
        assert_ne!(chosen(1), chosen(2));
    }

    #[test]
    fn every_patch_applies_and_says_what_catches_it() {
        let workspace = workspace().expect("a workspace");
        let patches = fs::read_dir(workspace.join("infra/simulation/mutants"));
        let patches: Vec<_> = patches.expect("patches").collect();
        assert!(!patches.is_empty());
        for patch in patches {
            let mutant = Mutant::read(patch.expect("a patch").path()).expect("it says so");
            assert!(mutant.caught_by.starts_with('I'), "{mutant:?}");
            assert!(mutant.within > 0, "{mutant:?}");
            let apply = Command::new("git")
                .current_dir(&workspace)
                .args(["apply", "--check"])
                .arg(&mutant.patch)
                .output()
                .expect("git is there");
            assert!(apply.status.success(), "{mutant:?}: {}", text(&apply.stderr));
        }
    }
}
