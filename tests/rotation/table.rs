//! The table of faults says the truth.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn faults() -> String {
    let table = root().join("crates/keywheel-rotation/FAULTS.md");
    std::fs::read_to_string(table).unwrap()
}

/// The rows of the tables: what stands in the first column, and the tests named in the last.
fn rows(text: &str) -> BTreeMap<String, Vec<String>> {
    text.lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| # |"))
        .filter(|line| !line.starts_with("| draw |") && !line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<_> = line.trim_matches('|').split(" | ").collect();
            let tests = cells.last().unwrap().split('`').skip(1).step_by(2);
            (
                cells[0].trim().to_owned(),
                tests.map(str::to_owned).collect(),
            )
        })
        .collect()
}

/// Whether there is a function of that name with an attribute of a test on the lines right before it.
fn is_test(source: &str, function: &str) -> bool {
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    let head = format!("fn {function}(");
    let is_it = |line: &&str| {
        line.strip_prefix("async ")
            .unwrap_or(line)
            .starts_with(&head)
    };
    let Some(at) = lines.iter().position(is_it) else {
        return false;
    };
    let belongs = |line: &&&str| line.starts_with("#[") || line.starts_with("//");
    let mut attributes = lines[..at].iter().rev().take_while(belongs);
    attributes.any(|line| *line == "#[test]" || line.starts_with("#[tokio::test"))
}

/// A conformance suite's claims are run by its macro, for every store.
fn is_claimed(function: &str) -> bool {
    let suite = root().join("crates/keywheel-connection/src/conformance.rs");
    let suite = std::fs::read_to_string(suite).unwrap();
    let mut words = suite.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.any(|word| word == function)
}

#[test]
fn a_helper_after_a_test_is_no_test() {
    let source = "/// One.\n#[test]\nfn one() {}\n\nfn two() {}\n#[tokio::test(start_paused = true)]\n\
                  /// Three.\nasync fn three() {}";
    let names = ["one", "two", "three", "four"];
    assert_eq!(
        names.map(|name| is_test(source, name)),
        [true, false, true, false]
    );
}

#[test]
fn every_test_that_the_table_names_exists() {
    let mut named = 0;
    for (row, tests) in rows(&faults()) {
        for test in tests {
            let (file, function) = test
                .split_once("::")
                .unwrap_or_else(|| panic!("{row}: {test}"));
            let source = std::fs::read_to_string(root().join(file));
            let source = source.unwrap_or_else(|_| panic!("{row}: there is no file {file}"));
            let held = if file.contains("/conformance/") {
                is_claimed(function)
            } else {
                is_test(&source, function)
            };
            assert!(held, "{row}: {file} has no test {function}");
            named += 1;
        }
    }
    assert!(named > 100, "{named}");
}

#[test]
fn what_the_table_says_of_the_simulation_is_drawn() {
    let text = faults();
    let rows = text
        .lines()
        .filter(|line| line.starts_with("| `tests/simulation/"));
    let mut drawn = 0;
    for row in rows {
        let named = row.split('`').nth(1).unwrap();
        let (file, word) = named.split_once("::").unwrap();
        let source = std::fs::read_to_string(root().join(file)).unwrap();
        let mut words = source.split(|c: char| !c.is_alphanumeric() && c != '_');
        assert!(words.any(|other| other == word), "{named}");
        drawn += 1;
    }
    assert!(drawn > 30, "{drawn}");
}

#[test]
fn every_point_and_defect_has_its_row() {
    let rows = rows(&faults());
    for point in 1..=68 {
        let tests = rows.get(&point.to_string());
        let tests = tests.unwrap_or_else(|| panic!("point {point} has no row"));
        assert!(!tests.is_empty(), "point {point} has no test");
    }
    for defect in 1..=40 {
        let tests = rows.get(&format!("W{defect}"));
        let tests = tests.unwrap_or_else(|| panic!("W{defect} has no row"));
        assert!(!tests.is_empty(), "W{defect} has no test");
    }
    let others = ["I-1", "I-2", "I-3", "I-4", "I-6", "V-1", "V-3", "V-4"];
    for defect in others {
        let tests = rows.get(defect);
        let tests = tests.unwrap_or_else(|| panic!("{defect} has no row"));
        assert!(!tests.is_empty(), "{defect} has no test");
    }
}

/// A test that is named after a point stands in the point's row.
#[test]
fn every_test_of_a_point_stands_in_the_table() {
    let rows = rows(&faults());
    for file in std::fs::read_dir(root().join("tests/rotation/faults")).unwrap() {
        let path = file.unwrap().path();
        let source = std::fs::read_to_string(&path).unwrap();
        let names = source.split("fn p").skip(1);
        for name in names.filter(|name| name.as_bytes()[..2].iter().all(u8::is_ascii_digit)) {
            let point = name[..2].trim_start_matches('0');
            let function = format!("p{}", name.split('(').next().unwrap());
            let listed = rows[point].iter().any(|test| test.ends_with(&function));
            assert!(listed, "{function} is not in the row of point {point}");
        }
    }
}

/// And one that is named after a defect, in the defect's.
#[test]
fn every_test_of_a_defect_stands_in_the_table() {
    let rows = rows(&faults());
    let source = root().join("tests/rotation/weaknesses.rs");
    let source = std::fs::read_to_string(source).unwrap();
    let mut named = 0;
    for name in source.split("fn w").skip(1) {
        let defect = format!("W{}", &name[..2]);
        let function = format!("w{}", name.split('(').next().unwrap());
        let listed = rows[&defect].iter().any(|test| test.ends_with(&function));
        assert!(listed, "{function} is not in the row of {defect}");
        named += 1;
    }
    assert!(named > 0);
}
