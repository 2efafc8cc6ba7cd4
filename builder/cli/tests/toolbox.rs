//! A8: the tools of the committed lock run from the cache with their own loader and libraries, without files of the host.
//!
//! Missing files are fetched, so the host needs a configured mirror, like every machine that builds.

#![expect(clippy::unwrap_used, reason = "helpers of a test fail by panicking")]

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use kubedos_builder::toolbox::Toolbox;
use kubedos_debian::cache::{Cache, Place};
use kubedos_debian::lock::Lock;

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().parent().unwrap()
}

/// The cache with the fetched sets, and the lock that was used.
fn inputs() -> &'static (Cache, Lock) {
    static INPUTS: OnceLock<(Cache, Lock)> = OnceLock::new();
    INPUTS.get_or_init(|| {
        let out = tempfile::tempdir().unwrap();
        let mut fetch = Command::new(env!("CARGO_BIN_EXE_kubedos-build"));
        fetch.current_dir(project()).args([
            "fetch",
            "--relock-missing",
            "--set",
            "tools",
            "--set",
            "oracles",
        ]);
        let ran = fetch.args(["--set", "toolchain", "--out"]).arg(out.path()).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        let used = out.path().join("kubedos.lock");
        let lock = if used.exists() { used } else { project().join("kubedos.lock") };
        let place =
            Place { fallback: project().join("target/kubedos-cache"), ..Place::from_environment(None) };
        (place.open().unwrap(), Lock::read_alone(&lock).unwrap())
    })
}

fn toolbox(set: &str) -> Toolbox {
    let (cache, lock) = inputs();
    Toolbox::open(cache, lock, set).unwrap()
}

fn succeeds(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?}: {status}\n{text}");
    text
}

/// For every dynamic program of the sets, the loader lists no library outside the tree.
#[test]
fn every_program_finds_all_its_libraries_in_its_own_tree() {
    let mut programs = 0;
    for set in ["tools", "oracles", "toolchain"] {
        let toolbox = toolbox(set);
        for folder in ["usr/bin", "usr/sbin"] {
            let Ok(entries) = fs::read_dir(toolbox.root().join(folder)) else { continue };
            for entry in entries {
                let name = format!("{folder}/{}", entry.unwrap().file_name().to_str().unwrap());
                let Ok((loader, leading)) = toolbox.invocation(&name) else { continue };
                let Some((program, options)) = leading.split_last() else { continue };
                let mut list = Command::new(loader);
                list.arg("--list").args(options).arg(program);
                let text = succeeds(&mut list);
                for line in text.lines().filter(|line| !line.contains("linux-vdso")) {
                    let path = line.split("=>").last().unwrap().split(" (").next().unwrap().trim();
                    let path = fs::canonicalize(path).unwrap_or_else(|_| panic!("{set} {name}: {line}"));
                    assert!(path.starts_with(toolbox.root()), "{set} {name} loads {}", path.display());
                }
                programs += 1;
            }
        }
    }
    assert!(programs > 100, "only {programs} programs were checked");
}

#[test]
fn fsck_erofs_accepts_an_image_of_mkfs_erofs() {
    let folder = tempfile::tempdir().unwrap();
    let image: PathBuf = folder.path().join("image.erofs");
    fs::create_dir(folder.path().join("tree")).unwrap();
    fs::write(folder.path().join("tree/file"), vec![7; 100_000]).unwrap();
    let tools = toolbox("tools");
    let mut make = tools.command("usr/bin/mkfs.erofs").unwrap();
    succeeds(make.args(["-zzstd,3", "-T0"]).arg(&image).arg(folder.path().join("tree")));
    succeeds(toolbox("oracles").command("usr/bin/fsck.erofs").unwrap().arg(&image));
}

#[test]
fn the_emulator_starts_with_its_own_firmware() {
    let tools = toolbox("tools");
    for firmware in ["usr/share/OVMF/OVMF_CODE_4M.fd", "usr/share/OVMF/OVMF_VARS_4M.fd"] {
        assert!(tools.path(firmware).unwrap().metadata().unwrap().len() > 100_000, "{firmware}");
    }
    let mut emulator = tools.command("usr/bin/qemu-system-x86_64").unwrap();
    emulator.args(tools.firmware_arguments());
    emulator.args([
        "-M",
        "q35,accel=tcg",
        "-m",
        "64",
        "-nodefaults",
        "-display",
        "none",
        "-S",
        "-qmp",
        "stdio",
    ]);
    // The emulator loads the firmware (BIOS) and the option ROM when it creates the machine.
    emulator
        .args(["-device", "virtio-net-pci"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = emulator.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"{\"execute\":\"qmp_capabilities\"}{\"execute\":\"quit\"}")
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && stdout.contains("SHUTDOWN"), "{stdout}\n{stderr}");
}

/// The compiler does not use the include folders or the compiler of the host: its sysroot is the tree.
#[test]
fn the_compiler_compiles_against_its_own_libc() {
    let folder = tempfile::tempdir().unwrap();
    let (source, object) = (folder.path().join("a.c"), folder.path().join("a.o"));
    fs::write(
        &source,
        "#include <stdio.h>\n#include <linux/types.h>\nint main(void) { return puts(\"x\") < 0; }\n",
    )
    .unwrap();
    let toolchain = toolbox("toolchain");
    let option = |name: &str, path: &str| [name, toolchain.path(path).unwrap().to_str().unwrap()].concat();
    let mut compile = toolchain.command("usr/bin/clang-19").unwrap();
    compile.arg("--target=x86_64-linux-gnu").arg(option("--sysroot=", ""));
    compile.arg(option("-resource-dir=", "usr/lib/llvm-19/lib/clang/19")).args(["-H", "-c", "-o"]);
    let output = succeeds(compile.arg(&object).arg(&source));
    let headers = output.lines().filter_map(|line| line.trim_start_matches('.').strip_prefix(' '));
    let foreign: Vec<_> = headers.filter(|path| !Path::new(path).starts_with(toolchain.root())).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    assert!(fs::read(&object).unwrap().starts_with(b"\x7fELF"));
}

#[test]
fn oracles_print_their_versions() {
    let oracles = toolbox("oracles");
    for (program, argument, expected) in [
        ("usr/sbin/veritysetup", "--version", "veritysetup 2."),
        ("usr/sbin/cryptsetup", "--version", "cryptsetup 2."),
        ("usr/sbin/sgdisk", "--version", "GPT fdisk"),
        ("usr/bin/xorriso", "--version", "xorriso"),
        ("usr/bin/isoinfo", "--version", "isoinfo"),
        ("usr/bin/mdir", "--version", "mtools"),
        ("usr/bin/sbverify", "--version", "sbverify"),
        ("usr/sbin/depmod", "--version", "kmod"),
        ("usr/bin/systemd-analyze", "--version", "systemd 257"),
        ("usr/bin/openssl", "version", "OpenSSL 3."),
    ] {
        let text = succeeds(oracles.command(program).unwrap().arg(OsStr::new(argument)));
        assert!(text.contains(expected), "{program}: {text}");
    }
}
