//! Tests the output streams and exit codes of `validate`, `plan` and `schema` (requirements S1, S2, N2, D2).
//!
//! The expected outputs are next to the fixtures of `kubedos-spec`; the tests of that crate write them. These tests run the program.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

#[path = "support/own.rs"]
mod own;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use own::{PUBLISHED, own_lab};

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kubedos-build")).current_dir(folder).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The names of the specs in a folder.
fn specs(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".yaml")).collect();
    names.sort();
    names
}

fn expected(folder: &Path, spec: &str, extension: &str) -> String {
    fs::read_to_string(folder.join(spec).with_extension(extension)).unwrap()
}

#[test]
fn every_bad_spec_is_refused_with_code_3_and_its_diagnostics_on_stderr() {
    let folder = project("spec/tests/bad");
    let specs = specs(&folder);
    assert!(specs.len() >= 120, "{}", specs.len());
    for spec in specs {
        let output = run(&folder, &["validate", &spec]);
        assert_eq!(output.status.code(), Some(3), "{spec}");
        assert_eq!(text(&output.stderr), expected(&folder, &spec, "txt"), "{spec}");
        assert_eq!(text(&output.stdout), "", "{spec}");
    }
}

#[test]
fn every_spec_with_warnings_passes_and_prints_them_on_stderr() {
    let folder = project("spec/tests/warned");
    for spec in specs(&folder) {
        let output = run(&folder, &["validate", &spec]);
        assert_eq!(output.status.code(), Some(0), "{spec}");
        let (stderr, warnings) = (text(&output.stderr), expected(&folder, &spec, "txt"));
        let rest = stderr.strip_prefix(&warnings).unwrap_or_else(|| panic!("{spec}: {stderr}"));
        assert!(rest.starts_with(&format!("{spec}: valid: cluster base 0.1.0, generation 1: ")), "{rest}");
        assert!(rest.contains("\nnot in this version: "), "{rest}");
        assert_eq!(text(&output.stdout), "", "{spec}");
    }
}

#[test]
fn validate_json_reports_the_same_problems() {
    let folder = project("spec/tests/bad");
    let output = run(&folder, &["validate", "--json", "several_typing_errors.yaml"]);
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(3), ""));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["valid"], false);
    let problems = document["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 5);
    assert_eq!((&problems[0]["line"], &problems[0]["rule"]), (&6.into(), &"unknown-key".into()));
    assert_eq!(problems[0]["help"], "did you mean `artifactVersion`?");

    let output = run(&project("examples"), &["validate", "--json", "lab.yaml"]);
    assert_eq!(output.status.code(), Some(0));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&document["valid"], &document["unrecorded"]), (&true.into(), &serde_json::json!([])));
    let rows = document["notInThisVersion"].as_array().unwrap();
    assert!(rows.iter().any(|row| row["path"] == "spec.networking.planes"), "{rows:?}");
}

#[test]
fn the_plan_of_every_example_is_printed_as_tables_json_and_drawings() {
    let (folder, goldens) = (project("examples"), project("spec/tests/golden/plan"));
    for spec in specs(&folder) {
        for (arguments, extension) in
            [(&[][..], "txt"), (&["--json"], "json"), (&["--dot"], "dot"), (&["--svg"], "svg")]
        {
            let output = run(&folder, &[&["plan", &spec], arguments].concat());
            assert_eq!(output.status.code(), Some(0), "{spec}");
            assert_eq!(text(&output.stdout), expected(&goldens, &spec, extension), "{spec} {arguments:?}");
        }
    }
}

#[test]
fn the_firewalls_of_every_example_are_printed_as_text_and_json() {
    let (folder, goldens) = (project("examples"), project("spec/tests/golden/firewall"));
    for spec in specs(&folder) {
        // The golden file contains the first and the last node.
        let golden = expected(&goldens, &spec, "nft");
        let output = run(&folder, &["plan", &spec, "--firewall"]);
        assert_eq!(output.status.code(), Some(0), "{spec}");
        let all = text(&output.stdout);
        let one = text(&run(&folder, &["plan", &spec, "--firewall", "--node", "cp-1"]).stdout);
        assert!(golden.starts_with(&one) && all.starts_with(&one), "{spec}");
        assert!(all.ends_with(&golden[one.len()..]), "{spec}");
        let planned = text(&run(&folder, &["plan", &spec, "--json"]).stdout);
        let planned: serde_json::Value = serde_json::from_str(&planned).unwrap();
        let nodes = planned["nodes"].as_array().unwrap().len();
        assert_eq!(all.matches("# the firewall of ").count(), nodes, "{spec}");
    }
    let json = run(&folder, &["plan", "lab.yaml", "--firewall", "--json"]);
    assert_eq!(text(&json.stdout), expected(&goldens, "lab.yaml", "json"));
    let unknown = run(&folder, &["plan", "lab.yaml", "--firewall", "--node", "absent"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("the spec has no node absent"), "{}", text(&unknown.stderr));
}

#[test]
fn the_underlays_of_every_example_are_printed_as_text_and_json() {
    let (folder, goldens) = (project("examples"), project("spec/tests/golden/underlay"));
    for spec in specs(&folder) {
        let output = run(&folder, &["plan", &spec, "--underlay"]);
        assert_eq!(output.status.code(), Some(0), "{spec}");
        let all = text(&output.stdout);
        assert_eq!(all, expected(&goldens, &spec, "txt"), "{spec}");
        let one = text(&run(&folder, &["plan", &spec, "--underlay", "--node", "cp-1"]).stdout);
        assert!(one.starts_with("# the underlay of cp-1, ") && all.starts_with(&one), "{spec}");
        assert_eq!(one.matches("# the underlay of ").count(), 1, "{spec}");
    }
    let json = run(&folder, &["plan", "lab.yaml", "--underlay", "--json"]);
    assert_eq!(text(&json.stdout), expected(&goldens, "lab.yaml", "json"));
    let unknown = run(&folder, &["plan", "lab.yaml", "--underlay", "--node", "absent"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("the spec has no node absent"), "{}", text(&unknown.stderr));
    let both = run(&folder, &["plan", "lab.yaml", "--underlay", "--firewall"]);
    assert_eq!(both.status.code(), Some(2));
}

#[test]
fn ids_are_recorded_once_and_reported_as_missing_before() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("lab.yaml"), own_lab()).unwrap();
    let file = folder.join("lab.alloc.toml");
    let reminder = "lab.yaml: the id of cp-1 and 1 more is not recorded";
    for arguments in [&["validate", "lab.yaml"], &["plan", "lab.yaml"]] {
        let output = run(folder, arguments);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stderr).contains(reminder), "{}", text(&output.stderr));
    }
    let dry = run(folder, &["plan", "--assign", "--dry-run", "lab.yaml"]);
    assert!(!file.exists());
    assert_eq!(text(&dry.stdout), fs::read_to_string(project("examples/lab.alloc.toml")).unwrap());
    run(folder, &["plan", "--assign", "lab.yaml"]);
    assert_eq!(text(&dry.stdout), fs::read_to_string(&file).unwrap());
    let again = run(folder, &["plan", "--assign", "lab.yaml"]);
    assert!(text(&again.stderr).contains("lab.alloc.toml: unchanged"), "{}", text(&again.stderr));
    assert!(!text(&run(folder, &["validate", "lab.yaml"]).stderr).contains("not recorded"));
    // No temporary file is left in the folder.
    assert_eq!(fs::read_dir(folder).unwrap().count(), 2);

    let foreign = fs::read_to_string(&file).unwrap().replace("cluster = \"lab\"", "cluster = \"other\"");
    fs::write(&file, foreign).unwrap();
    let refused = run(folder, &["validate", "lab.yaml"]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(text(&refused.stderr).contains("belongs to the cluster other, not to lab"));
}

#[test]
fn each_change_has_its_effect_on_running_nodes() {
    let folder = tempfile::tempdir().unwrap();
    let lab = own_lab();
    fs::write(folder.path().join("old.yaml"), &lab).unwrap();
    let new =
        lab.replace("6443/tcp", "6443-6444/tcp").replace("host-b\n        disks", "host-a\n        disks");
    fs::write(folder.path().join("new.yaml"), new).unwrap();
    let output = run(folder.path(), &["plan", "new.yaml", "--since", "old.yaml"]);
    let lines: Vec<String> = text(&output.stdout).lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("spec.networking.policy") && lines[0].ends_with("  live"), "{lines:?}");
    assert!(
        lines[1].starts_with("spec.nodes.inventory[w-1].domain") && lines[1].ends_with("  replace"),
        "{lines:?}"
    );
}

#[test]
fn the_generated_pages_of_the_documentation_are_up_to_date() {
    for (option, page) in [("--reference", "docs/spec-reference.md"), ("--invariants", "docs/invariants.md")]
    {
        let output = run(&project("."), &["schema", option]);
        assert_eq!(text(&output.stdout), fs::read_to_string(project(page)).unwrap(), "{page}");
    }
    let schema: serde_json::Value = serde_json::from_slice(&run(&project("."), &["schema"]).stdout).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
}

#[test]
fn an_unreadable_spec_is_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["validate", "absent.yaml"], &["plan", "."]] {
        let output = run(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).starts_with("error: cannot read "), "{}", text(&output.stderr));
    }
}

/// Writes the `sys` and `dev` of a machine with two namespaces of one NVMe controller, and a virtio disk with a truncated serial number.
fn machine(root: &Path) {
    let put = |path: &str, text: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    for (name, digit) in [("nvme0n1", 1), ("nvme0n2", 2)] {
        put(&format!("sys/block/{name}/size"), "29360128\n");
        put(&format!("sys/block/{name}/device/serial"), "S3Z1NB0K100001\n");
        put(&format!("sys/block/{name}/device/model"), "ACME \u{1b}[2J\n");
        put(&format!("sys/block/{name}/wwid"), &format!("eui.002538445000000{digit}\n"));
    }
    put("sys/block/vda/size", "29360128\n");
    put("sys/block/vda/serial", "0123456789ABCDEFGHIJ\n");
    put("sys/block/sdb/size", "0\n");
}

/// Writes the lab example with a rule for the system disk of its first node.
fn with_rule(folder: &Path, rule: &str) -> PathBuf {
    let text = own_lab();
    let rule =
        format!("          - sizeGiB: 14\n            match: {rule}\n        allowDestroy: [{rule}]\n");
    let spec = folder.join("cluster.yaml");
    fs::write(&spec, text.replacen("          - sizeGiB: 14\n", &rule, 1)).unwrap();
    spec
}

/// O1: on any host, an operator sees the disks as a node detects them, why a disk does not match, and what distinguishes matching disks.
#[test]
fn inspect_disks_lists_every_disk_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("machine");
    machine(&root);
    let root = root.to_str().unwrap().to_owned();
    let listed = run(folder.path(), &["inspect", "--disks", "--root", &root]);
    assert_eq!(listed.status.code(), Some(0), "{}", text(&listed.stderr));
    assert_eq!(
        text(&listed.stdout),
        "nvme0n1    14.0 GiB\n  model    \"ACME \\u{1b}[2J\"\n  serial   \"S3Z1NB0K100001\"\n  wwn      \"eui.0025384450000001\"\n\
         nvme0n2    14.0 GiB\n  model    \"ACME \\u{1b}[2J\"\n  serial   \"S3Z1NB0K100001\"\n  wwn      \"eui.0025384450000002\"\n\
         sdb        no medium\nvda        14.0 GiB\n  serial   \"0123456789ABCDEFGHIJ\"\n"
    );
    let judged = |rule: &str, more: &[&str]| {
        let spec = with_rule(folder.path(), rule);
        let spec = spec.to_str().unwrap().to_owned();
        let arguments =
            [&["inspect", "--disks", "--root", &root, "--spec", &spec, "--node", "cp-1"], more].concat();
        let output = run(folder.path(), &arguments);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let shared = judged("{ serial: S3Z1NB0K100001 }", &[]);
    assert_eq!(shared.matches("rule     matches").count(), 2, "{shared}");
    assert_eq!(shared.matches("names 2 disks (nvme0n1, nvme0n2) and permits nothing").count(), 2, "{shared}");
    assert!(
        shared.contains("2 disks match, so the node uses none of them: name one by its `wwn`"),
        "{shared}"
    );
    let own = judged("{ wwn: nvme-eui.0025384450000002 }", &[]);
    assert!(
        own.contains("wwn      \"eui.0025384450000002\"\n  rule     matches\n  destroy  allowDestroy names this disk: its content may be destroyed"),
        "{own}"
    );
    assert!(own.contains("rule     does not match: different wwn") && own.contains("has no wwn"), "{own}");
    let cut = judged("{ serial: 0123456789ABCDEFGHIJKLMNO }", &["--json"]);
    let report: serde_json::Value = serde_json::from_str(&cut).unwrap();
    let disks = report["disks"].as_array().unwrap();
    let matching: Vec<_> = disks.iter().filter(|disk| disk["matches"] == true).collect();
    assert_eq!((matching.len(), &matching[0]["name"]), (1, &serde_json::json!("vda")), "{cut}");
    assert!(matching[0].get("allow_destroy").is_none(), "a truncated name gives no permission: {cut}");
}

#[test]
fn inspect_disks_refuses_wrong_arguments_and_a_missing_sysfs() {
    let folder = tempfile::tempdir().unwrap();
    let spec = with_rule(folder.path(), "{ serial: A }");
    let spec = spec.to_str().unwrap();
    for arguments in [
        &["inspect"][..],
        &["inspect", "--disks", "file"],
        &["inspect", "--disks", "--files"],
        &["inspect", "--disks", "--spec", spec],
        &["inspect", "--spec", spec, "--node", "cp-1"],
        &["inspect", "--disks", "--spec", spec, "--node", "nobody"],
    ] {
        assert_eq!(run(folder.path(), arguments).status.code(), Some(2), "{arguments:?}");
    }
    let unreadable = run(folder.path(), &["inspect", "--disks", "--root", "/nowhere"]);
    assert_eq!(unreadable.status.code(), Some(1), "a missing sysfs is an error, not a machine without disks");
}

/// The names of the copy, its operator and its folder do not matter, nor does the encoding of the key.
#[test]
fn the_published_operator_key_is_refused_outside_the_examples() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let lab = fs::read_to_string(project("examples/lab.yaml")).unwrap();
    let refused = |path: &str, text: &str| {
        let at = folder.join(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(&at, text).unwrap();
        for command in [
            &["validate"][..],
            &["plan"],
            &["seed", "--all", "--dry-run", "--spec"],
            &["image", "--dry-run", "--spec"],
        ] {
            let output = run(folder, &[command, &[path]].concat());
            assert_eq!(output.status.code(), Some(3), "{path} {command:?}: {}", text_of(&output));
            assert!(
                text_of(&output).contains("rule: published-operator-key"),
                "{path}: {}",
                text_of(&output)
            );
        }
    };
    refused("mine.yaml", &lab);
    refused("mine.yaml", &lab.replace("name: demo", "name: ada").replace("name: lab", "name: prod"));
    refused("mine.yaml", &lab.replace("qqbTmo=", "qqbTuo="));
    refused("mine.yaml", &lab.replace(PUBLISHED, &format!("\"{PUBLISHED}\"")));
    // A folder named `examples` is not enough, even next to a key directory `demo` with other keys.
    refused("examples/mine.yaml", &lab);
    assert!(run(folder, &["keys", "init", "lab"]).status.success());
    assert!(run(folder, &["keys", "init", "demo"]).status.success());
    refused("examples/mine.yaml", &lab);

    // Another encoding of the same bits is not a valid key.
    for spelling in [
        &PUBLISHED[..43],
        "hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo=",
        "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmp=",
    ] {
        fs::write(folder.join("mine.yaml"), lab.replace(PUBLISHED, spelling)).unwrap();
        assert_eq!(run(folder, &["validate", "mine.yaml"]).status.code(), Some(3), "{spelling}");
    }
    fs::write(folder.join("mine.yaml"), own_lab()).unwrap();
    assert!(run(folder, &["validate", "mine.yaml"]).status.success());
}

fn text_of(output: &Output) -> String {
    text(&output.stderr)
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, to) = (entry.as_ref().unwrap().path(), to.join(entry.as_ref().unwrap().file_name()));
        if path.is_dir() {
            copy_tree(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

/// The examples in a copy of the project count as examples, independent of the current folder. A link to a file outside them does not, and
/// with other keys an example is an ordinary cluster.
#[test]
fn the_published_operator_is_accepted_in_the_examples_with_the_demo_keys_only() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    copy_tree(&project("examples"), &folder.join("examples"));
    copy_tree(&project("keys/demo"), &folder.join("keys/demo"));
    assert!(run(folder, &["validate", "examples/lab.yaml"]).status.success());
    assert!(run(&folder.join("examples"), &["validate", "lab.yaml"]).status.success());
    assert!(run(folder, &["seed", "--all", "--dry-run", "--spec", "examples/lab.yaml"]).status.success());

    fs::copy(folder.join("examples/lab.yaml"), folder.join("outside.yaml")).unwrap();
    std::os::unix::fs::symlink("../outside.yaml", folder.join("examples/link.yaml")).unwrap();
    for spec in ["outside.yaml", "examples/link.yaml", "examples/../outside.yaml"] {
        assert_eq!(run(folder, &["validate", spec]).status.code(), Some(3), "{spec}");
    }
    // The demo keys in a different folder are refused. Other keys refuse the published operator.
    copy_tree(&folder.join("keys/demo"), &folder.join("copied"));
    let copied =
        run(folder, &["seed", "--all", "--dry-run", "--spec", "examples/lab.yaml", "--keys", "copied"]);
    assert_eq!(copied.status.code(), Some(2), "{}", text_of(&copied));
    assert!(run(folder, &["keys", "init", "lab"]).status.success());
    for command in [&["seed", "--all"][..], &["image"]] {
        let output = run(
            folder,
            &[command, &["--dry-run", "--spec", "examples/lab.yaml", "--keys", "keys/lab"]].concat(),
        );
        assert_eq!(output.status.code(), Some(3), "{command:?}: {}", text_of(&output));
        assert!(text_of(&output).contains("rule: published-operator-key"), "{}", text_of(&output));
    }
}

#[test]
fn fields_without_effect_are_one_line_or_a_list_with_unsupported() {
    let output = run(&project("."), &["validate", "examples/lab.yaml"]);
    let stderr = text(&output.stderr);
    assert_eq!(stderr.matches("not in this version").count(), 1, "{stderr}");
    assert!(stderr.contains("validate --unsupported lists them"), "{stderr}");
    assert!(stderr.lines().count() < 20 && !stderr.contains("spec.networking.planes"), "{stderr}");
    assert_eq!(text(&output.stdout), "");
    let listed = text(&run(&project("."), &["validate", "--unsupported", "examples/lab.yaml"]).stdout);
    assert!(
        listed.starts_with("not in this version:\n") && listed.contains("    spec.networking.planes\n"),
        "{listed}"
    );
}

/// Both commands of `make image` read the same spec. Only the first one prints its warnings.
#[test]
fn seeds_do_not_repeat_the_warnings_of_the_spec() {
    let image = text_of(&run(&project("."), &["image", "--dry-run", "--spec", "examples/lab.yaml"]));
    assert!(image.contains("warning: "), "{image}");
    let seed = run(&project("."), &["seed", "--all", "--dry-run", "--spec", "examples/lab.yaml"]);
    assert_eq!(
        text_of(&seed).matches("warning: ").count(),
        1,
        "only the warning about the demo keys: {}",
        text_of(&seed)
    );
    let quiet = run(&project("."), &["seed", "--all", "--quiet", "--dry-run", "--spec", "examples/lab.yaml"]);
    assert!(!text_of(&quiet).contains("warning"), "{}", text_of(&quiet));
}
