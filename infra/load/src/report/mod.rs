//! How runs are told: a table in the terminal, and a folder with figures, plots and one page to look at.
//!
//! Whatever the form, faults are told loudly, the settings that concern durability stand in sight,
//! and several runs of a kind (`fast-1`, `fast-2`, …) are told by median and spread. The page needs
//! nothing but itself: no script, no font, no other file.

pub mod growth;
mod column;
mod facts;
pub(crate) mod group;
mod markdown;
pub(crate) mod number;
mod page;
mod plots;
mod svg;
mod table;
#[cfg(test)]
pub(crate) mod sample;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;

pub use growth::{Axis, Point, growth};
pub use markdown::{Figure, markdown};
pub use table::table;

use crate::run::Run;
use plots::Plot;

/// Writes `runs.json`, a file for each plot and `index.html` into the folder; returns the page's path.
pub fn write(folder: &Path, runs: &[Run]) -> anyhow::Result<PathBuf> {
    save(folder, "runs.json", &serde_json::to_string_pretty(runs)?)?;
    let groups = group::groups(runs);
    let mut plots: Vec<Plot> = plots::latency(&groups).into_iter().collect();
    plots.extend(plots::time(&groups));
    plots.extend(plots::cost(&groups));
    plots.extend(plots::memory(&groups));
    save_plots(folder, &plots)?;
    save(folder, "index.html", &page::report(runs, &groups, &plots))
}

/// Reads `runs.json` as [`write()`] left it.
pub fn read(folder: &Path) -> anyhow::Result<Vec<Run>> {
    let path = folder.join("runs.json");
    let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is no list of runs", path.display()))
}

fn save_plots(folder: &Path, plots: &[Plot]) -> anyhow::Result<()> {
    for plot in plots {
        save(folder, &format!("{}.svg", plot.file), &plot.svg.file())?;
    }
    Ok(())
}

fn save(folder: &Path, name: &str, text: &str) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let path = folder.join(name);
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stays there to be looked at.
    fn folder(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../target/report-sample")
            .join(name)
    }

    #[test]
    fn a_report_is_one_page_with_everything_in_it() {
        let runs = sample::pairs(5);
        let page = write(&folder("pairs"), &runs).unwrap();
        let html = fs::read_to_string(&page).unwrap();
        for told in [
            "<svg",
            "w:majority",
            "fast-5",
            "naive-5",
            "librdkafka",
            "prefers-color-scheme",
        ] {
            assert!(html.contains(told), "{told}");
        }
        for elsewhere in ["<script", "<link", "src=", "@import", "url("] {
            assert!(!html.contains(elsewhere), "{elsewhere}");
        }
        for file in ["latency.svg", "cost.svg", "time-fast.svg", "time-naive.svg"] {
            assert!(page.with_file_name(file).exists(), "{file}");
        }
        // The table rounds away the last bit, which JSON does not keep.
        assert_eq!(table(&read(&folder("pairs")).unwrap()), table(&runs));
    }

    #[test]
    fn a_soak_shows_memory() {
        let page = write(&folder("soak"), &[sample::soak()]).unwrap();
        assert!(page.with_file_name("memory-soak.svg").exists());
    }

    #[test]
    fn faults_and_names_are_told_and_escaped() {
        let mut runs = sample::pairs(1);
        runs[0].name = "<script>alert('run')</script>".to_owned();
        runs[1]
            .faults
            .push("order <b>7</b> never became final".to_owned());
        runs[1].settings.push(("<i>".to_owned(), "\"&\"".to_owned()));
        let html = fs::read_to_string(write(&folder("faults"), &runs).unwrap()).unwrap();
        assert!(html.contains("order &lt;b&gt;7&lt;/b&gt; never became final"));
        assert!(html.contains("&lt;script&gt;") && html.contains("&lt;i&gt;"));
        for raw in ["<script>", "<b>7", "<i>"] {
            assert!(!html.contains(raw), "{raw}");
        }
        assert!(!html.contains("exactly once"));
    }

    #[test]
    fn runs_with_nothing_in_them_are_told_too() {
        assert!(write(&folder("none"), &[]).is_ok());
        let mut run = sample::soak();
        run.timeline.clear();
        run.costs.clear();
        run.storage = None;
        run.completed = crate::run::Latency::default();
        run.acknowledged = crate::run::Latency::default();
        run.sagas_per_second = f64::NAN;
        assert!(write(&folder("empty"), std::slice::from_ref(&run)).is_ok());
        assert!(table(&[run]).contains(number::NONE));
    }
}
