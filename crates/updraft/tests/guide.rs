//! The operating guide says what is so.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

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
