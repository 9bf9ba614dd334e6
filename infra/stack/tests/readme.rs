//! What the README promises names its proof, and the proof is there.

use std::{collections::BTreeSet, fs, path::Path};

/// All Rust sources below a folder, as one text.
fn sources(folder: &Path, text: &mut String) {
    let entries = fs::read_dir(folder).expect("a folder").filter_map(Result::ok);
    for path in entries.map(|entry| entry.path()) {
        let is = |extension: &str| path.extension().is_some_and(|found| found == extension);
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, text);
        } else if is("rs") {
            *text += &fs::read_to_string(&path).expect("a source is text");
        }
    }
}

#[test]
fn every_guarantee_names_a_test_that_exists() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = fs::read_to_string(top.join("README.md")).expect("the README");
    let (_, guarantees) = readme.split_once("| it holds that |").expect("the guarantees");
    let (guarantees, _) = guarantees.split_once("\n\n").expect("the end of the table");
    let mut code = String::new();
    for folder in ["shared", "customers", "orders", "infra"] {
        sources(&top.join(folder), &mut code);
    }
    for line in guarantees.lines().skip(2) {
        let (_, proof) = line
            .trim_end_matches([' ', '|'])
            .rsplit_once('|')
            .expect("a proof");
        let named: BTreeSet<_> = proof.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "no test is named: {line}");
        for name in named {
            // Those of a suite are generic over what they are played against.
            let is_there = ["(", "<D: "].map(|after| code.contains(&format!("fn {name}{after}")));
            assert!(is_there.contains(&true), "there is no test {name}: {line}");
        }
    }
}
