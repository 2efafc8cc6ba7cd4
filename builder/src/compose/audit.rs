//! The audit of a finished tree: it finds everything that a sealed volume must not contain (A12). Any finding fails the build.
//!
//! The audit reads the tree only. It does not trust the rules that removed files before; it checks names, modes, extended attributes,
//! owners, links, needed libraries and the programs that units start.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::data::Capability;
use super::elf;
use super::libraries::{find, follow};
use super::tree::{Kind, Node, Tree};
use super::units;

/// Names of programs that no volume may contain: shells, interpreters, package managers, login programs, remote access, compilers, and
/// programs that gain privileges.
pub const FORBIDDEN: [&str; 66] = [
    "sh",
    "ash",
    "bash",
    "csh",
    "dash",
    "fish",
    "ksh",
    "mksh",
    "rbash",
    "static-sh",
    "tcsh",
    "zsh",
    "busybox",
    "toybox",
    "awk",
    "gawk",
    "mawk",
    "env",
    "expect",
    "gdb",
    "guile",
    "jq",
    "lua",
    "m4",
    "make",
    "node",
    "perl",
    "php",
    "pwsh",
    "python",
    "python2",
    "python3",
    "ruby",
    "sed",
    "tclsh",
    "vi",
    "vim",
    "ansible",
    "ansible-playbook",
    "salt-call",
    "salt-minion",
    "apk",
    "apt",
    "apt-get",
    "dnf",
    "dpkg",
    "pip",
    "rpm",
    "snap",
    "yum",
    "agetty",
    "getty",
    "login",
    "nologin",
    "sulogin",
    "su",
    "sudo",
    "runuser",
    "pkexec",
    "ssh",
    "sshd",
    "telnetd",
    "gcc",
    "cc",
    "ld",
    "as",
];

/// Kernel modules that no volume may contain. `crypto_null` is a cipher that does not encrypt; a forged LUKS2 header can select it
/// (CVE-2025-59054 and related reports).
pub const FORBIDDEN_MODULES: [&str; 1] = ["crypto_null"];

/// A file that the volume must not contain, or with a forbidden property.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The path without a leading slash.
    pub path: String,
    /// The package or the part of the builder that added the file.
    pub origin: String,
    /// The forbidden property.
    pub fault: Fault,
}

/// A forbidden property of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The name of a forbidden program, see [`FORBIDDEN`].
    ForbiddenName,
    /// A forbidden kernel module, see [`FORBIDDEN_MODULES`].
    ForbiddenModule,
    /// An executable file that starts with `#!`.
    Script,
    /// An executable file that is neither ELF nor a script.
    UnknownProgram,
    /// Setuid or setgid.
    SetId(u32),
    /// Writable for the group or for others.
    Writable(u32),
    /// A device node.
    Device,
    /// A file capability that is not listed.
    Capability(String),
    /// An extended attribute other than a file capability.
    Attribute(String),
    /// An owner or group that is not an account.
    Owner(u32, u32),
    /// A link whose target does not exist.
    DanglingLink(String),
    /// A program or library that needs a missing file.
    Needs(String),
    /// A unit that starts a missing or forbidden program.
    Starts(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{} (of {}) ", self.path, self.origin)?;
        match &self.fault {
            Fault::ForbiddenName => write!(f, "has the name of a program that no volume may contain"),
            Fault::ForbiddenModule => write!(f, "is a kernel module that no volume may contain"),
            Fault::Script => write!(f, "is an executable script"),
            Fault::UnknownProgram => write!(f, "is executable, but not an ELF program"),
            Fault::SetId(mode) => write!(f, "is setuid or setgid ({mode:04o})"),
            Fault::Writable(mode) => write!(f, "is writable for others ({mode:04o})"),
            Fault::Device => write!(f, "is a device"),
            Fault::Capability(value) => write!(f, "has the unlisted capability {value}"),
            Fault::Attribute(name) => write!(f, "has the extended attribute {name}"),
            Fault::Owner(uid, gid) => write!(f, "belongs to {uid}:{gid}, which is not an account"),
            Fault::DanglingLink(target) => write!(f, "is a link to {target}, which does not exist"),
            Fault::Needs(name) => write!(f, "needs {name}, which does not exist"),
            Fault::Starts(program) => write!(f, "starts {program}, which does not exist or is forbidden"),
        }
    }
}

/// The exceptions that the audit accepts.
#[derive(Debug, Clone, Default)]
pub struct Allowed<'a> {
    /// File capabilities by path.
    pub capabilities: BTreeMap<&'a str, &'a Capability>,
    /// User ids.
    pub users: BTreeSet<u32>,
    /// Group ids.
    pub groups: BTreeSet<u32>,
}

/// Returns all findings, sorted.
pub fn audit(tree: &Tree, allowed: &Allowed<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, node) in tree.iter() {
        let mut faults = Vec::new();
        attributes(path, node, allowed, &mut faults);
        match &node.kind {
            Kind::File(_) | Kind::Hardlink(_) => {
                if let Some(bytes) = tree.content(path) {
                    file(tree, path, node, bytes, &mut faults);
                }
            }
            Kind::Symlink(target) => link(tree, path, target, &mut faults),
            Kind::Device { .. } => faults.push(Fault::Device),
            Kind::Directory => {}
        }
        let name = path.rsplit('/').next().unwrap_or(path);
        if !node.is_directory() && in_program_folder(path) && FORBIDDEN.contains(&unversioned(name)) {
            faults.push(Fault::ForbiddenName);
        }
        if !node.is_directory() && is_forbidden_module(name) {
            faults.push(Fault::ForbiddenModule);
        }
        findings.extend(faults.into_iter().map(|fault| Finding {
            path: path.to_owned(),
            origin: node.origin.to_string(),
            fault,
        }));
    }
    findings.sort();
    findings
}

/// Matches `crypto_null.ko` with any compression suffix. The kernel treats `-` and `_` in names of modules as the same.
fn is_forbidden_module(name: &str) -> bool {
    name.split_once(".ko").is_some_and(|(module, _)| FORBIDDEN_MODULES.contains(&&*module.replace('-', "_")))
}

fn attributes(path: &str, node: &Node, allowed: &Allowed<'_>, faults: &mut Vec<Fault>) {
    if node.mode & 0o6000 != 0 {
        faults.push(Fault::SetId(node.mode));
    }
    if node.mode & 0o022 != 0 && !matches!(node.kind, Kind::Symlink(_)) {
        faults.push(Fault::Writable(node.mode));
    }
    if !allowed.users.contains(&node.uid) || !allowed.groups.contains(&node.gid) {
        faults.push(Fault::Owner(node.uid, node.gid));
    }
    for (name, value) in &node.xattrs {
        let value = hex::encode(value);
        if name != "security.capability" {
            faults.push(Fault::Attribute(name.clone()));
        } else if allowed.capabilities.get(path).is_none_or(|capability| capability.value != value) {
            faults.push(Fault::Capability(value));
        }
    }
}

fn file(tree: &Tree, path: &str, node: &Node, bytes: &[u8], faults: &mut Vec<Fault>) {
    if let Some(elf) = elf::read(bytes) {
        for name in elf.needed.iter().filter(|name| find(tree, name, &elf.run_path).is_none()) {
            // The loader also searches the run path of the program that loads the library. Here only systemd's private folder is tried.
            if find(tree, name, &["usr/lib/x86_64-linux-gnu/systemd".to_owned()]).is_none() {
                faults.push(Fault::Needs(name.clone()));
            }
        }
        if let Some(interpreter) = &elf.interpreter {
            let name = interpreter.rsplit('/').next().unwrap_or(interpreter);
            if find(tree, name, &[]).is_none() {
                faults.push(Fault::Needs(interpreter.clone()));
            }
        }
    } else if node.mode & 0o111 != 0 {
        faults.push(if bytes.starts_with(b"#!") { Fault::Script } else { Fault::UnknownProgram });
    }
    if path.starts_with(units::FOLDER) {
        for program in started(&String::from_utf8_lossy(bytes)) {
            let name = program.rsplit('/').next().unwrap_or(&program);
            if FORBIDDEN.contains(&name) || !is_program(tree, &program) {
                faults.push(Fault::Starts(program));
            }
        }
    }
}

fn link(tree: &Tree, path: &str, target: &str, faults: &mut Vec<Fault>) {
    let mut at = path.to_owned();
    let mut target = target.to_owned();
    for _ in 0..16 {
        let folder = at.rsplit_once('/').map_or("", |(folder, _)| folder);
        at = follow(folder, &target);
        // These folders are filled at run time, so the link cannot be followed here.
        if ["proc", "run", "sys", "dev", "var", "tmp"].iter().any(|top| at.split('/').next() == Some(top)) {
            return;
        }
        match tree.get(&at).map(|node| &node.kind) {
            Some(Kind::Symlink(next)) => target.clone_from(next),
            Some(_) => return,
            None => break,
        }
    }
    faults.push(Fault::DanglingLink(target));
}

fn in_program_folder(path: &str) -> bool {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    folder.ends_with("bin") || folder.ends_with("libexec") || folder.starts_with("usr/lib/systemd")
}

/// Removes the version from a name: `python3.13` gives `python3`, `perl5.40` gives `perl`.
fn unversioned(name: &str) -> &str {
    let name = name.split_once('.').map_or(name, |(name, _)| name);
    if FORBIDDEN.contains(&name) {
        name
    } else {
        name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-')
    }
}

/// The programs that a unit starts: the keys `Exec…=` of systemd.service(5).
fn started(unit: &str) -> Vec<String> {
    unit.lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(key, _)| key.starts_with("Exec") && key.chars().all(char::is_alphabetic))
        .filter_map(|(_, command)| {
            command.trim().trim_start_matches(['-', '+', '!', ':', '@', '|']).split_whitespace().next()
        })
        .map(str::to_owned)
        .collect()
}

fn is_program(tree: &Tree, program: &str) -> bool {
    let there = |path: String| {
        // /bin and /sbin are links into /usr.
        let path =
            if path.starts_with("bin/") || path.starts_with("sbin/") { format!("usr/{path}") } else { path };
        tree.get(&path).is_some()
    };
    match program.strip_prefix('/') {
        Some(path) => there(path.to_owned()),
        None => ["usr/bin", "usr/sbin"].iter().any(|folder| there(format!("{folder}/{program}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn allowed() -> Allowed<'static> {
        Allowed { users: BTreeSet::from([0]), groups: BTreeSet::from([0]), ..Allowed::default() }
    }

    fn faults(path: &str, node: Node) -> Vec<Fault> {
        let mut tree = Tree::new(0);
        tree.add(path, node).unwrap();
        audit(&tree, &allowed()).into_iter().map(|finding| finding.fault).collect()
    }

    fn file(bytes: &[u8], mode: u32) -> Node {
        Node::file(bytes, &Arc::from("p")).with_mode(mode)
    }

    /// A12.
    #[test]
    fn a_script_is_found_by_its_first_bytes_and_its_execute_bit() {
        assert_eq!(faults("usr/lib/x/helper", file(b"#!/bin/sh\n", 0o755)), [Fault::Script]);
        assert_eq!(faults("usr/lib/x/helper", file(b"#!/bin/sh\n", 0o644)), []);
        assert_eq!(faults("usr/lib/x/helper", file(b"MZ", 0o744)), [Fault::UnknownProgram]);
    }

    /// A12.
    #[test]
    fn a_shell_is_found_by_name_under_any_link_or_version() {
        for name in ["bash", "python3.13", "perl5.40", "sh", "sulogin", "apt-get", "python3"] {
            assert!(
                faults(&format!("usr/bin/{name}"), file(b"", 0o644)).contains(&Fault::ForbiddenName),
                "{name}"
            );
            let link = Node::symlink("/usr/bin/other", &Arc::from("p"));
            assert!(faults(&format!("usr/sbin/{name}"), link).contains(&Fault::ForbiddenName), "{name}");
        }
        assert_eq!(faults("usr/share/doc/bash", file(b"", 0o644)), []);
    }

    /// A12: a forged LUKS2 header can select a cipher that does not encrypt, so the image must not contain its module.
    #[test]
    fn a_module_without_encryption_is_found_under_any_name() {
        for name in ["crypto_null.ko", "crypto-null.ko.xz", "crypto_null.ko.zst"] {
            let path = format!("usr/lib/modules/6.12/kernel/crypto/{name}");
            assert_eq!(faults(&path, file(b"x", 0o644)), [Fault::ForbiddenModule], "{name}");
        }
        assert_eq!(faults("usr/lib/modules/6.12/kernel/crypto/xts.ko", file(b"x", 0o644)), []);
    }

    #[test]
    fn modes_capabilities_owners_and_devices_are_found() {
        assert_eq!(faults("f", file(b"", 0o4644)), [Fault::SetId(0o4644)]);
        assert_eq!(faults("f", file(b"", 0o2644)), [Fault::SetId(0o2644)]);
        assert_eq!(faults("f", file(b"", 0o666)), [Fault::Writable(0o666)]);
        let mut node = file(b"", 0o644);
        node.uid = 77;
        assert_eq!(faults("f", node), [Fault::Owner(77, 0)]);
        let mut node = file(b"", 0o644);
        node.xattrs.insert("security.capability".into(), vec![1, 2]);
        node.xattrs.insert("user.note".into(), vec![]);
        assert_eq!(
            faults("f", node),
            [Fault::Capability("0102".into()), Fault::Attribute("user.note".into())]
        );
        let device = Node::new(Kind::Device { character: true, major: 1, minor: 3 }, &Arc::from("p"));
        assert_eq!(faults("dev/null", device), [Fault::Device]);
    }

    #[test]
    fn a_listed_capability_is_allowed_for_its_file_and_value_only() {
        let capability = Capability { value: "0102".into(), why: "test".into() };
        let mut tree = Tree::new(0);
        for path in ["listed", "other"] {
            let mut node = file(b"", 0o644);
            node.xattrs.insert("security.capability".into(), vec![1, 2]);
            tree.add(path, node).unwrap();
        }
        let allowed = Allowed { capabilities: BTreeMap::from([("listed", &capability)]), ..allowed() };
        let paths: Vec<_> = audit(&tree, &allowed).into_iter().map(|finding| finding.path).collect();
        assert_eq!(paths, ["other"]);
    }

    #[test]
    fn units_that_start_a_shell_or_a_missing_program_are_found() {
        let unit = |line: &str| faults("usr/lib/systemd/system/x.service", file(line.as_bytes(), 0o644));
        assert_eq!(unit("[Service]\nExecStart=-/bin/sh\n"), [Fault::Starts("/bin/sh".into())]);
        assert_eq!(unit("[Service]\nExecStartPre=+gone --now\n"), [Fault::Starts("gone".into())]);
        assert_eq!(unit("[Service]\nExecStart=\n# ExecStart=/bin/sh\n"), []);
    }

    #[test]
    fn dangling_links_and_missing_libraries_are_found() {
        assert_eq!(
            faults("etc/l", Node::symlink("../gone", &Arc::from("p"))),
            [Fault::DanglingLink("../gone".into())]
        );
        assert_eq!(faults("etc/l", Node::symlink("../run/later", &Arc::from("p"))), []);
        assert_eq!(faults("etc/l", Node::symlink("l", &Arc::from("p"))), [Fault::DanglingLink("l".into())]);
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(faults("usr/bin/p", file(&program, 0o755)).contains(&Fault::Needs("libc.so.6".into())));
    }
}
