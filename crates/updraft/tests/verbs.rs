//! The operator's verbs: the real program against a real server, on loopback.

#[path = "verbs/bench.rs"]
mod bench;

use bench::{Bench, Ran};
use std::fs;

#[test]
fn a_release_goes_from_a_file_to_a_device_by_verbs_alone() {
    let bench = Bench::new();
    let file = bench.file("image.bin", &vec![7; 300_000]);
    let added = bench.json(&["release", "add", "--product", "cam", "--version", "1.1.0", "--file", &file]);
    assert_eq!((&added["product"], &added["version"]), (&"cam".into(), &"1.1.0".into()));
    assert_eq!((added["size"].as_u64(), added["sha256"].as_str().unwrap().len()), (Some(300_000), 64));
    let rollout = bench.json(&["rollout", "start", "--product", "cam", "--version", "1.1.0"]);
    let rollout = rollout["id"].as_str().unwrap();
    let token = bench.json(&["token", "create", "--device", "cam-1"]);
    bench.check_in(token["token"].as_str().unwrap(), "cam-1", "1.0.0");
    let device = bench.json(&["device", "show", "cam-1"]);
    assert_eq!(
        (&device["id"], &device["product"], &device["version"]),
        (&"cam-1".into(), &"cam".into(), &"1.0.0".into())
    );
    assert!(device.as_object().unwrap().contains_key("last_seen"));
    let status = bench.json(&["rollout", "status", rollout]);
    assert_eq!(
        (status["counts"]["queued"].as_u64(), status["counts"].as_object().unwrap().len()),
        (Some(1), 11)
    );
    let explained = bench.run(&["device", "explain", "cam-1"]);
    assert!(explained.out.contains("It is being updated to 1.1.0: queued."), "{explained:?}");
    bench.check_in(token["token"].as_str().unwrap(), "cam-1", "1.1.0");
    let watched = bench.run(&["rollout", "status", rollout, "--watch"]);
    assert_eq!(watched.code, 0, "{watched:?}");
    assert!(watched.out.lines().last().unwrap().contains("completed: succeeded 1"), "{watched:?}");
    bench.end();
}

#[test]
fn watching_an_aborted_rollout_ends_with_status_1() {
    let bench = Bench::new();
    let rollout = bench.rollout("1.1.0");
    assert_eq!(bench.run(&["rollout", "abort", &rollout, "--note", "wrong file"]).code, 0);
    let watched = bench.run(&["rollout", "status", &rollout, "--watch", "--json"]);
    assert_eq!(watched.code, 1);
    assert!(watched.out.contains("\"why\":\"It was aborted: operator local: wrong file.\""), "{watched:?}");
    bench.end();
}

#[test]
fn every_listing_is_a_table_for_people_and_json_for_programs() {
    let bench = Bench::new();
    for verb in ["release", "rollout", "device"] {
        let empty = bench.run(&[verb, "ls"]);
        assert_eq!((empty.code, empty.out.as_str()), (0, ""), "{verb}");
        assert!(empty.err.starts_with("no "), "{verb}: {empty:?}");
        assert_eq!(bench.json(&[verb, "ls"]), serde_json::json!([]), "{verb}");
    }
    let rollout = bench.rollout("1.1.0");
    bench.check_in(&bench.device_token("cam-1"), "cam-1", "1.0.0");
    for (verb, key, value) in [
        ("release", "version", "1.1.0"),
        ("rollout", "id", &rollout),
        ("device", "id", "cam-1"),
        ("token", "kind", "operator"),
    ] {
        let table = bench.run(&[verb, "ls"]).out;
        assert!(table.contains(value) && !table.contains('\x1b'), "{verb}: {table}");
        let items = bench.json(&[verb, "ls"]);
        assert!(items.as_array().unwrap().iter().any(|item| item[key] == value), "{verb}: {items}");
    }
    bench.end();
}

#[test]
fn each_error_says_what_to_do() {
    let bench = Bench::new();
    bench.rollout("1.1.0");
    let file = bench.file("other.bin", b"other");
    let add = ["release", "add", "--product", "cam", "--file", &file, "--version"];
    let with = |version: &'static str, more: &[&'static str]| -> Vec<String> {
        add.iter().copied().chain([version]).chain(more.iter().copied()).map(ToOwned::to_owned).collect()
    };
    for (arguments, part) in [
        (with("1.1.0", &[]), "with another file"),
        (with("1.2.0", &["--policy", "device.x = 1"]), "column 10"),
        (with("1.2.0", &["--sha256", "0"]), "64 lower-case"),
        (with("v1.2.0", &[]), "leave out the leading `v`"),
        (
            vec!["release".into(), "show".into(), "--product=cam".into(), "--version=1.1.1".into()],
            "did you mean 1.1.0?",
        ),
        (vec!["device".into(), "show".into(), "cam-1".into()], "never heard of"),
        (vec!["token".into(), "revoke".into(), "t0".into()], "there is no token t0"),
    ] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let ran = bench.run(&arguments);
        assert!(ran.code == 1 && ran.err.contains(part), "{arguments:?}: {ran:?}");
        assert!(ran.out.is_empty(), "errors go to the standard error: {ran:?}");
    }
    bench.end();
}

#[test]
fn without_a_server_or_a_token_the_error_says_how_to_get_one() {
    let folder = tempfile::tempdir().unwrap();
    let closed = bench::closed_port();
    let url = format!("http://{closed}");
    let Ran { code, err, .. } =
        bench::run(folder.path(), &["device", "ls", "--url", &url, "--token", "updt_x"]);
    assert!(code == 1 && err.contains("Start it with `updraft serve`, or set UPDRAFT_URL"), "{err}");
    let Ran { code, err, .. } = bench::run(folder.path(), &["device", "ls", "--url", &url]);
    assert!(code == 1 && err.contains("set UPDRAFT_TOKEN") && err.contains("--data"), "{err}");
    let bench = Bench::new();
    let ran = bench.run(&["device", "ls", "--token", "updt_wrong"]);
    assert!(ran.code == 1 && ran.err.contains("check UPDRAFT_TOKEN"), "{ran:?}");
    let token = bench.device_token("cam-1");
    let ran = bench.run(&["device", "ls", "--token", &token]);
    assert!(ran.code == 1 && ran.err.contains("not an operator's"), "{ran:?}");
    bench.end();
}

#[test]
fn a_wrong_command_line_ends_with_status_2() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        vec!["frobnicate"],
        vec!["token", "create"],
        vec!["token", "create", "--device", "a", "--product", "b"],
        vec!["release", "add", "--product", "cam"],
        vec!["release", "add", "--product=a", "--version=1.0.0", "--file=x", "--meta", "novalue"],
        vec!["rollout", "status", "r1", "--interval", "0"],
    ] {
        assert_eq!(bench::run(folder.path(), &arguments).code, 2, "{arguments:?}");
    }
}

#[test]
fn a_policy_is_tried_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("device.json5");
    fs::write(&file, "// a device\n{ id: 'cam-1', version: '1.9.0', region: 'eu', }").unwrap();
    let file = file.to_str().unwrap();
    let try_policy = |policy: &str| {
        bench::run(folder.path(), &["policy", "test", policy, "--device", file, "--version", "1.10.0"])
    };
    let ran = try_policy("device.version < update.version && device.region == 'eu'");
    assert!(ran.code == 0 && ran.out.starts_with("matches"), "{ran:?}");
    let ran = try_policy("device.region == 'us'");
    assert!(ran.code == 1 && ran.out.starts_with("does not match") && ran.out.contains("'eu'"), "{ran:?}");
    let ran = try_policy("device.region ==");
    assert!(ran.code == 1 && ran.err.contains("                ^"), "{ran:?}");
    for broken in ["{", "[1]", "{\"a\": \"\u{0}"] {
        fs::write(file, broken).unwrap();
        assert_eq!(try_policy("true").code, 1, "{broken}");
    }
    let ran = bench::run(folder.path(), &["policy", "test", "true", "--device", "missing.json5"]);
    assert!(ran.code == 1 && ran.err.contains("cannot read missing.json5"), "{ran:?}");
}

#[test]
fn a_backup_is_restored_by_a_verb_and_nothing_is_overwritten() {
    let bench = Bench::new();
    bench.rollout("1.1.0");
    let (file, folder) = (bench.path("backup.tar"), bench.path("restored"));
    assert_eq!(bench.run(&["backup", &file]).code, 0);
    let ran = bench.run(&["backup", &file]);
    assert!(ran.code == 1 && ran.err.contains("cannot write"), "{ran:?}");
    assert_eq!(bench.run(&["restore", &file, "--data", &folder]).code, 0);
    assert!(fs::metadata(format!("{folder}/operator.token")).is_ok());
    let ran = bench.run(&["restore", &file, "--data", &folder]);
    assert!(ran.code == 1 && ran.err.contains("not empty"), "{ran:?}");
    bench.end();
}

#[test]
fn doctor_finds_a_sound_server_sound_and_names_what_is_wrong() {
    let bench = Bench::new();
    bench.rollout("1.1.0");
    let device_url = format!("https://{}", bench.device_address());
    let findings = bench.json(&["doctor", "--device-url", &device_url]);
    let verdicts = |check: &str| -> Vec<String> {
        let findings = findings.as_array().unwrap().iter().filter(|finding| finding["check"] == check);
        findings.map(|finding| finding["verdict"].as_str().unwrap().to_owned()).collect()
    };
    for check in ["data folder", "clock", "authority", "certificate", "server", "database", "download link"] {
        assert_eq!(verdicts(check), ["ok"], "{check}: {findings}");
    }
    let closed = format!("https://{}", bench::closed_port());
    let ran = bench.run(&["doctor", "--device-url", &closed]);
    assert!(ran.code == 1 && ran.out.contains("FAIL  download link"), "{ran:?}");
    bench.end();
}

#[test]
fn completions_name_every_verb() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = bench::run(folder.path(), &["completions", shell]).out;
        for verb in
            ["serve", "release", "rollout", "device", "policy", "token", "backup", "restore", "doctor"]
        {
            assert!(script.contains(verb), "{shell}: {verb}");
        }
    }
}

#[test]
fn a_certificate_goes_into_two_files_of_which_only_the_owner_reads_the_key() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    let out = bench.path("certificates");
    let create = ["token", "create", "--device", "cam-1", "--certificate", "--out", &out];
    let made = bench.run(&create);
    assert_eq!((made.code, made.out.as_str()), (0, ""), "nothing secret is printed: {made:?}");
    let read = |name: &str| fs::read_to_string(format!("{out}/{name}")).unwrap();
    assert!(read("cam-1.pem").starts_with("-----BEGIN CERTIFICATE-----"));
    assert!(read("cam-1.key").starts_with("-----BEGIN PRIVATE KEY-----"));
    let mode = |name: &str| fs::metadata(format!("{out}/{name}")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("cam-1.key"), 0o600);
    let again = bench.run(&create);
    assert!(again.code != 0 && again.err.contains("cam-1.key"), "{again:?}");
    let listed = bench.json(&["token", "ls"]);
    let forms: Vec<_> = listed.as_array().unwrap().iter().map(|token| token["form"].clone()).collect();
    assert_eq!(forms.iter().filter(|form| *form == "certificate").count(), 1, "the second was not made");
    let long = "x".repeat(100);
    let refused = bench.run(&["token", "create", "--device", &long, "--certificate", "--out", &out]);
    assert!(refused.code != 0 && refused.err.contains("64 characters"), "{refused:?}");
    assert_eq!(fs::read_dir(&out).unwrap().count(), 2, "no empty file is left behind");
    let printed = bench.run(&["token", "create", "--device", "cam-2", "--certificate"]);
    assert!(printed.out.contains("BEGIN CERTIFICATE") && printed.out.contains("BEGIN PRIVATE KEY"));
    bench.end();
}

#[test]
fn an_access_key_is_printed_as_a_shell_takes_it() {
    let bench = Bench::new();
    let made = bench.run(&["token", "create", "--operator", "ci", "--access-key"]);
    let lines: Vec<_> = made.out.lines().collect();
    let [id, secret] = lines.as_slice() else { panic!("{made:?}") };
    assert!(id.starts_with("AWS_ACCESS_KEY_ID=UPDK") && secret.starts_with("AWS_SECRET_ACCESS_KEY="));
    let json = bench.json(&["token", "create", "--device", "cam-1", "--access-key"]);
    assert!(json["accessKeyId"].is_string() && json["secretAccessKey"].is_string(), "{json}");
    for wrong in [
        &["token", "create", "--product", "cam", "--access-key"][..],
        &["token", "create", "--product", "cam", "--certificate"],
        &["token", "create", "--device", "cam-1", "--certificate", "--access-key"],
        &["token", "create", "--device", "cam-1", "--csr", "x.csr"],
        &["token", "create", "--device", "cam-1", "--out", "x"],
    ] {
        assert_eq!(bench.run(wrong).code, 2, "{wrong:?}");
    }
    bench.end();
}

#[test]
fn a_pre_shared_key_is_printed_with_its_identity_and_an_imported_one_never() {
    let bench = Bench::new();
    let made = bench.run(&["token", "create", "--device", "cam-1", "--psk"]);
    let lines: Vec<_> = made.out.lines().collect();
    let [identity, key] = lines.as_slice() else { panic!("{made:?}") };
    let identity = identity.strip_prefix("PSK_IDENTITY=").unwrap();
    let key = key.strip_prefix("PSK_KEY=").unwrap();
    assert!(identity.starts_with("UPDP") && key.len() == 32, "{made:?}");
    let listed = bench.run(&["token", "ls"]);
    assert!(listed.out.contains("psk") && !listed.out.contains(key), "{listed:?}");
    assert!(bench.json(&["token", "ls"]).to_string().contains(identity));

    let file = bench.path("cam-2.psk");
    fs::write(&file, "00112233445566778899AABBCCDDEEFF\n").unwrap();
    let import =
        ["token", "create", "--device", "cam-2", "--psk", "--identity", "urn:imei:1", "--key-file", &file];
    let taken = bench.run(&import);
    assert_eq!(taken.code, 0, "{taken:?}");
    assert!(!format!("{taken:?}").to_lowercase().contains("00112233"), "{taken:?}");
    let again = bench.run(&import);
    assert!(again.code != 0 && again.err.contains("urn:imei:1"), "{again:?}");
    fs::write(&file, "0".repeat(100_000)).unwrap();
    assert!(bench.run(&import).err.contains("cam-2.psk"));
    for wrong in [
        &["token", "create", "--product", "cam", "--psk"][..],
        &["token", "create", "--operator", "ci", "--psk"],
        &["token", "create", "--device", "a", "--psk", "--access-key"],
        &["token", "create", "--device", "a", "--psk", "--identity", "i"],
        &["token", "create", "--device", "a", "--psk", "--key-file", "f"],
        &["token", "create", "--device", "a", "--identity", "i", "--key-file", "f"],
    ] {
        assert_eq!(bench.run(wrong).code, 2, "{wrong:?}");
    }
    bench.end();
}
