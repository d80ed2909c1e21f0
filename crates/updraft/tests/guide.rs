//! The operating guide says what is so, and the page of bad input what is tested.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use updraft_server::config::Config;

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operating").join(name);
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_configuration_shown_is_the_one_a_server_has_without_one() {
    let page = page("configuration.md");
    let shown = page.split_once("```toml\n").unwrap().1.split_once("```").unwrap().0;
    let shown_config: Config = toml::from_str(shown).unwrap();
    assert_eq!(format!("{shown_config:?}"), format!("{:?}", Config::default()));
    let with_examples = shown.replace("\n# ", "\n").replacen("# data", "data", 1);
    let config: Config = toml::from_str(&with_examples).unwrap();
    config.check().unwrap();
}

#[test]
fn the_page_of_verbs_names_every_verb() {
    let page = page("verbs.md");
    let help = Command::new(env!("CARGO_BIN_EXE_updraft")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let commands = help.split_once("Commands:\n").unwrap().1.split("\n\n").next().unwrap();
    let verbs: Vec<&str> = commands
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|verb| *verb != "help")
        .collect();
    assert!(verbs.len() >= 11, "{verbs:?}");
    for verb in verbs {
        assert!(page.contains(&format!("`updraft {verb}")), "{verb}");
    }
}

/// Whether a source has a test of this name.
fn has_test(source: &str, name: &str) -> bool {
    let Some((before, _)) = source.split_once(&format!("fn {name}()")) else { return false };
    // Attributes stand between the two, and no other function.
    before.rsplit_once("#[test]").is_some_and(|(_, between)| !between.contains("fn "))
}

#[test]
fn each_test_that_the_page_of_bad_input_names_is_there() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/protocols");
    let page = std::fs::read_to_string(folder.join("lwm2m-bad-input.md")).unwrap();
    let links = page.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: "));
    let sources: BTreeMap<&str, String> =
        links.map(|(label, file)| (label, std::fs::read_to_string(folder.join(file)).unwrap())).collect();
    let mut used = BTreeSet::new();
    let mut kinds = BTreeSet::new();
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.ends_with("tests |"));
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        kinds.extend(cells[0].split(", "));
        for tests in cells[cells.len() - 1].split("; ") {
            let (label, names) = tests.strip_prefix('[').and_then(|rest| rest.split_once("]: ")).expect(row);
            used.insert(label);
            for name in names.split(", ") {
                let name = name.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')).expect(row);
                assert!(has_test(&sources[label], name), "there is no test {name} in {label}");
            }
        }
    }
    assert!(sources.keys().eq(&used), "a file is linked that nothing is named of");
    for kind in 1..=12 {
        assert!(kinds.contains(kind.to_string().as_str()), "nothing is said of {kind}");
    }
    let known = kinds.iter().filter(|kind| kind.starts_with("CVE-")).count();
    assert!(known >= 14, "{known} of what is known by a number");
}
