//! The command line, as its users see it. The only tests that start the binary.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use insta::assert_snapshot;

const DEFINITIONS: &str = r#"
project = "demo"
[[feature_view]]
name = "weather"
entities = []
table = "demo.weather"
timestamp_field = "ts"
"#;

fn murre(directory: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_murre"));
    command
        .current_dir(directory)
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied());
    command.output().expect("the binary starts")
}

fn printed(arguments: &[&str]) -> String {
    let output = murre(Path::new("."), arguments, &[]);
    assert_eq!(output.status.code(), Some(0));
    text(&output.stdout)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output is UTF-8")
}

#[test]
fn help_shows_commands_and_examples() {
    assert_snapshot!(printed(&["--help"]));
}

#[test]
fn help_of_serve_names_the_setting_behind_each_flag() {
    assert_snapshot!(printed(&["serve", "--help"]));
}

#[test]
fn help_of_check_config_is_there() {
    assert_snapshot!(printed(&["check-config", "--help"]));
}

#[test]
fn the_version_is_the_packages() {
    assert_eq!(
        printed(&["--version"]),
        format!("murre {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn wrong_usage_exits_with_64() {
    let output = murre(Path::new("."), &["serv"], &[]);
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stderr).contains("serve"), "{output:?}");
}

#[test]
fn check_config_prints_the_settings_in_force() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("features.toml"), DEFINITIONS).unwrap();
    fs::write(dir.path().join("murre.toml"), "[engine]\nthreads = 2\n").unwrap();
    let variables = [("MURRE__SERVER__LISTEN", "127.0.0.1:9000")];
    let output = murre(
        dir.path(),
        &["check-config", "--config", "murre.toml"],
        &variables,
    );
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(
        shown.contains("engine.threads = 2  # murre.toml:2\n"),
        "{shown}"
    );
    let listen =
        "server.listen = \"127.0.0.1:9000\"  # environment variable MURRE__SERVER__LISTEN\n";
    assert!(shown.contains(listen), "{shown}");
    assert!(
        shown.ends_with("configuration is valid; 1 feature views are defined\n"),
        "{shown}"
    );
    assert_eq!(output.stderr, b"");
}

#[test]
fn every_fault_of_the_configuration_is_printed_and_the_exit_code_is_64() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("murre.toml"),
        "[engin]\nthreads = 2\n[server]\nlisten = 5\n",
    )
    .unwrap();
    for command in ["check-config", "serve"] {
        let arguments = [command, "--config", "murre.toml", "--log", "="];
        let output = murre(dir.path(), &arguments, &[("MURRE__SERVER__LISTN", "")]);
        assert_eq!(output.status.code(), Some(64));
        assert_eq!(output.stdout, b"");
        assert_snapshot!("all_faults", text(&output.stderr));
    }
}

#[test]
fn check_config_prints_faults_of_the_definitions() {
    let dir = tempfile::tempdir().unwrap();
    let missing = murre(dir.path(), &["check-config"], &[]);
    assert_eq!(missing.status.code(), Some(64));
    assert!(
        text(&missing.stderr).contains("features.toml"),
        "{missing:?}"
    );
    fs::write(
        dir.path().join("features.toml"),
        DEFINITIONS.replace("table", "tabel"),
    )
    .unwrap();
    let broken = murre(dir.path(), &["check-config"], &[]);
    assert_eq!(broken.status.code(), Some(64));
    assert_snapshot!(text(&broken.stderr));
}

#[test]
fn serve_logs_where_it_listens_and_ends_well_on_sigterm() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("features.toml"), DEFINITIONS).unwrap();
    let mut server = Command::new(env!("CARGO_BIN_EXE_murre"))
        .args(["serve", "--listen", "127.0.0.1:0"])
        .current_dir(dir.path())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut log = BufReader::new(server.stderr.take().expect("piped")).lines();
    let listening = log.find_map(|line| line.ok().filter(|line| line.contains("listening")));
    let pid = server.id().to_string();
    let killed = Command::new("kill")
        .args(["-TERM", &pid])
        .status()
        .expect("kill is there");
    let rest: Vec<String> = log.map_while(Result::ok).collect();
    assert_eq!(server.wait().unwrap().code(), Some(0), "{rest:?}");
    assert!(killed.success());
    assert!(
        listening.is_some_and(|line| line.contains("127.0.0.1:")),
        "{rest:?}"
    );
}
