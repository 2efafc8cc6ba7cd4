//! The script ledger: all maintainer scripts and trigger files of the locked packages, each with its digest and a reviewer's verdict.
//!
//! The builder never runs these scripts. Each entry explains why the script is unnecessary. A script without an entry fails the build,
//! because an update may contain a step that the image needs. An entry stores one short digest per line instead of the script's text;
//! this is enough to show which lines of an updated script are new.

use std::collections::BTreeMap;
use std::fmt;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

/// Members of a control archive that are not scripts and that no program acts on.
const INERT: [&str; 6] = ["control", "md5sums", "conffiles", "shlibs", "symbols", "templates"];

/// The reason why a script is unnecessary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It has no effect on a first installation, or no effect that persists.
    Noop,
    /// It acts on upgrade, removal or failure only; these do not happen in an image.
    Upgrade,
    /// It updates the library cache; the image's libraries are in the loader's default folders.
    Ldconfig,
    /// It creates users or groups; `accounts` does this.
    Accounts,
    /// It enables or starts units; `units` does this.
    Units,
    /// It creates the certificate bundle; `files` does this.
    Certificates,
    /// It creates kernel links or an initrd, or runs depmod; `kernel` does this.
    Kernel,
    /// It creates other files; `files`, the overlay or tmpfiles do this.
    Files,
    /// The program or file that it serves is not in the image.
    Removed,
}

/// One reviewed script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The packages that contain the script.
    pub packages: Vec<String>,
    /// The name in the control archive: `preinst`, `postinst`, `prerm`, `postrm`, `config`, `triggers`.
    pub kind: String,
    /// SHA-256 of the script's bytes.
    pub sha256: String,
    /// The reason why the script is unnecessary.
    pub verdict: Verdict,
    /// The verdict's explanation.
    pub why: String,
    /// The first four bytes of each line's SHA-256, in hexadecimal digits.
    pub lines: String,
}

/// `rootfs/ledger.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// Always 1.
    pub version: u32,
    /// The scripts.
    pub script: Vec<Entry>,
}

/// A script of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// The package's name.
    pub package: String,
    /// The package's version.
    pub version: String,
    /// The name in the control archive.
    pub kind: String,
    /// The script's text.
    pub text: String,
}

/// A script without an entry in the ledger, and the entry of its predecessor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// The script.
    pub script: Script,
    /// The entry of the reviewed predecessor, if there is one.
    pub before: Option<Entry>,
}

/// Scripts that are not in the ledger.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("maintainer scripts without a review:\n{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct UnknownScripts(pub Vec<Unknown>);

/// Returns the scripts among a package's control files.
pub fn scripts(package: &str, version: &str, control: &BTreeMap<String, Vec<u8>>) -> Vec<Script> {
    control
        .iter()
        .filter(|(name, _)| !INERT.contains(&name.as_str()))
        .map(|(name, bytes)| Script {
            package: package.to_owned(),
            version: version.to_owned(),
            kind: name.clone(),
            text: String::from_utf8_lossy(bytes).into_owned(),
        })
        .collect()
}

impl Ledger {
    /// Returns the scripts that are not in the ledger, sorted by package and kind.
    pub fn unknown(&self, scripts: &[Script]) -> Vec<Unknown> {
        let mut unknown: Vec<Unknown> = scripts
            .iter()
            .filter(|script| self.verdict(script).is_none())
            .map(|script| Unknown { script: script.clone(), before: self.predecessor(script).cloned() })
            .collect();
        unknown.sort_by(|a, b| (&a.script.package, &a.script.kind).cmp(&(&b.script.package, &b.script.kind)));
        unknown
    }

    /// Fails on any script that is not in the ledger.
    pub fn check(&self, scripts: &[Script]) -> Result<(), UnknownScripts> {
        let unknown = self.unknown(scripts);
        if unknown.is_empty() { Ok(()) } else { Err(UnknownScripts(unknown)) }
    }

    /// Returns the entry of a script.
    pub fn verdict(&self, script: &Script) -> Option<&Entry> {
        let sha256 = script.sha256();
        self.script.iter().find(|entry| {
            entry.sha256 == sha256 && entry.kind == script.kind && entry.packages.contains(&script.package)
        })
    }

    fn predecessor(&self, script: &Script) -> Option<&Entry> {
        let of = |entry: &&Entry| entry.kind == script.kind;
        let stem = stem(&script.package);
        let same = self.script.iter().filter(of).find(|entry| entry.packages.contains(&script.package));
        same.or_else(|| {
            self.script
                .iter()
                .filter(of)
                .find(|entry| entry.packages.iter().any(|p| super::ledger::stem(p) == stem))
        })
    }
}

/// Removes the version from a package's name; the names of kernel packages contain one.
fn stem(package: &str) -> String {
    package.chars().filter(|c| !c.is_ascii_digit() && *c != '.').collect()
}

impl Script {
    /// SHA-256 of the text, in hexadecimal digits.
    pub fn sha256(&self) -> String {
        hex::encode(digest(&SHA256, self.text.as_bytes()))
    }

    /// Creates the ledger entry of this script for a reviewer.
    pub fn entry(&self, verdict: Verdict, why: &str) -> Entry {
        Entry {
            packages: vec![self.package.clone()],
            kind: self.kind.clone(),
            sha256: self.sha256(),
            verdict,
            why: why.to_owned(),
            lines: self.text.lines().map(line_digest).collect(),
        }
    }
}

fn line_digest(line: &str) -> String {
    let digest = digest(&SHA256, line.as_bytes());
    let (first, _) = digest.as_ref().split_at(4);
    hex::encode(first)
}

impl fmt::Display for Unknown {
    /// Writes the whole text, with `+` before the lines that the reviewed predecessor does not contain.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Script { package, version, kind, text } = &self.script;
        write!(f, "--- {kind} of {package} {version}, sha256 {}", self.script.sha256())?;
        let mut left: BTreeMap<&str, usize> = BTreeMap::new();
        match &self.before {
            None => writeln!(f, ", never reviewed")?,
            Some(before) => {
                for at in (0..before.lines.len()).step_by(8) {
                    *left.entry(before.lines.get(at..at + 8).unwrap_or_default()).or_default() += 1;
                }
                writeln!(f, "; the verdict on its predecessor was {:?}: {}", before.verdict, before.why)?;
            }
        }
        for line in text.lines() {
            let known = left.get_mut(line_digest(line).as_str()).filter(|count| **count > 0);
            let mark = if known.is_some() { ' ' } else { '+' };
            if let Some(count) = known {
                *count -= 1;
            }
            writeln!(f, "{mark} {line}")?;
        }
        let removed: usize = left.values().sum();
        if removed > 0 {
            writeln!(f, "- {removed} lines of the predecessor were removed")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(package: &str, text: &str) -> Script {
        Script { package: package.into(), version: "2".into(), kind: "postinst".into(), text: text.into() }
    }

    fn ledger() -> Ledger {
        let entry = script("dbus", "set -e\nadduser bus\nexit 0\n").entry(Verdict::Accounts, "makes a user");
        Ledger { version: 1, script: vec![entry] }
    }

    #[test]
    fn a_new_line_in_a_reviewed_script_fails_the_build_and_is_shown() {
        let new = script("dbus", "set -e\nadduser bus\nsetcap cap_net_admin+ep /usr/bin/bus\n");
        let text = ledger().check(&[new]).unwrap_err().to_string();
        assert!(text.contains("postinst of dbus 2"), "{text}");
        assert!(text.contains("\n+ setcap cap_net_admin") && text.contains("\n  set -e\n"), "{text}");
        assert!(text.contains("was Accounts: makes a user") && text.contains("- 1 lines"), "{text}");
    }

    #[test]
    fn a_reviewed_text_counts_for_its_package_and_kind_only() {
        let reviewed = script("dbus", "set -e\nadduser bus\nexit 0\n");
        ledger().check(std::slice::from_ref(&reviewed)).unwrap();
        assert!(ledger().check(&[Script { package: "other".into(), ..reviewed.clone() }]).is_err());
        assert!(ledger().check(&[Script { kind: "preinst".into(), ..reviewed }]).is_err());
    }

    #[test]
    fn an_unknown_script_is_printed_completely() {
        let text = ledger().check(&[script("new", "#!/bin/sh\nrm -rf /\n")]).unwrap_err().to_string();
        assert!(text.contains("never reviewed") && text.contains("+ #!/bin/sh\n+ rm -rf /"), "{text}");
    }

    #[test]
    fn a_control_member_with_an_unknown_name_counts_as_a_script() {
        let control = ["control", "md5sums", "postinst", "triggers", "isinstallable"];
        let control = control.map(|name| (name.to_owned(), Vec::new())).into_iter().collect();
        let kinds: Vec<_> = scripts("p", "1", &control).into_iter().map(|script| script.kind).collect();
        assert_eq!(kinds, ["isinstallable", "postinst", "triggers"]);
    }

    #[test]
    fn a_kernel_with_a_different_version_finds_its_predecessor() {
        let mut ledger = ledger();
        ledger.script[0].packages = vec!["linux-image-6.12.1+deb13-amd64".into()];
        let new = script("linux-image-6.12.99+deb13-amd64", "set -e\n");
        assert!(ledger.unknown(&[new])[0].before.is_some());
    }
}
