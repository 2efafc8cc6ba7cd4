//! The rules of composition as data: the files of `rootfs/` and `kernel-config/`, built into the program so that what composes
//! and by which rules are one thing with one version.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A data file is not what the program understands. A fault of the project, not of the user.
#[derive(Debug, thiserror::Error)]
#[error("rule file {file} is malformed")]
pub struct DataError {
    file: &'static str,
    #[source]
    source: toml::de::Error,
}

fn parse<T: DeserializeOwned>(file: &'static str, text: &str) -> Result<T, DataError> {
    toml::from_str(text).map_err(|source| DataError { file, source })
}

macro_rules! embedded {
    ($name:ident, $type:ty, $file:literal) => {
        #[doc = concat!("The rules of `", $file, "`.")]
        pub fn $name() -> Result<$type, DataError> {
            parse($file, include_str!(concat!("../../../", $file)))
        }
    };
}

embedded!(closed, Closed, "rootfs/closed.toml");
embedded!(removals, Removals, "rootfs/remove.toml");
embedded!(units, Units, "rootfs/units.toml");
embedded!(ids, Ids, "rootfs/ids.toml");
embedded!(kernel_options, KernelOptions, "kernel-config/required.toml");
embedded!(modules, Modules, "kernel-config/modules.toml");
embedded!(drivers_metal, Modules, "kernel-config/drivers-metal.toml");
embedded!(ledger, super::ledger::Ledger, "rootfs/ledger.toml");

/// The kernel's command line of `kernel-config/cmdline`: one word a line there, joined with single spaces here. Its last word is `--`,
/// behind which the kernel takes no parameter: systemd-stub appends what the hypervisor wants.
pub fn cmdline() -> String {
    let text = include_str!("../../../kernel-config/cmdline");
    let words = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    words.collect::<Vec<_>>().join(" ")
}

include!(concat!(env!("OUT_DIR"), "/overlay.rs"));

/// `rootfs/closed.toml`: folders of which only named entries stay.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Closed {
    /// Always 1.
    pub version: u32,
    /// The folders, in the order in which they are closed.
    pub folder: Vec<ClosedFolder>,
    /// Libraries opened by name at run time, with the reason.
    pub dlopen: BTreeMap<String, String>,
    /// File capabilities by path.
    pub capabilities: BTreeMap<String, Capability>,
}

/// A closed folder.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClosedFolder {
    /// Its path, without a leading slash.
    pub path: String,
    /// The reason.
    pub why: String,
    /// The entries that stay, each with its reason.
    pub keep: BTreeMap<String, String>,
}

/// A file capability that is meant.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capability {
    /// The value of `security.capability` in hexadecimal digits.
    pub value: String,
    /// The reason.
    pub why: String,
}

/// `rootfs/remove.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Removals {
    /// Always 1.
    pub version: u32,
    /// The patterns.
    pub remove: Vec<Removal>,
}

/// A pattern of what is removed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Removal {
    /// The pattern; `*` matches within a component.
    pub path: String,
    /// Last components that stay all the same.
    #[serde(default)]
    pub except: Vec<String>,
    /// It may match nothing.
    #[serde(default)]
    pub optional: bool,
    /// The reason.
    pub why: String,
}

/// `rootfs/units.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Units {
    /// Always 1.
    pub version: u32,
    /// What is booted.
    pub default: String,
    /// Units of packages that stay, with the reason.
    pub keep: BTreeMap<String, String>,
    /// Second names.
    pub alias: Vec<UnitAlias>,
    /// What is started with what.
    pub enable: Vec<Enable>,
}

/// A second name of a unit.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitAlias {
    /// The second name.
    pub name: String,
    /// The unit.
    pub unit: String,
    /// The reason.
    pub why: String,
}

/// Units wanted by a target.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enable {
    /// The target.
    pub target: String,
    /// The units.
    pub units: Vec<String>,
}

/// `rootfs/ids.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ids {
    /// Always 1.
    pub version: u32,
    /// Users.
    pub user: BTreeMap<String, UserId>,
    /// Groups.
    pub group: BTreeMap<String, u32>,
    /// Accounts that packages declare and nothing here uses.
    pub unused: Unused,
}

/// A pinned user.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserId {
    /// Its id.
    pub id: u32,
    /// Its group, by name.
    pub group: String,
}

/// Accounts that are not made.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unused {
    /// Users.
    pub users: Vec<String>,
    /// Groups.
    pub groups: Vec<String>,
    /// The reason.
    pub why: String,
}

/// `kernel-config/required.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelOptions {
    /// Always 1.
    pub version: u32,
    /// The options.
    pub option: Vec<KernelOption>,
}

/// An option that the kernel must have been built with.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelOption {
    /// `CONFIG_…`.
    pub name: String,
    /// Values that will do.
    pub is: Vec<String>,
    /// The reason.
    pub why: String,
}

/// `kernel-config/modules.toml` and `drivers-metal.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Modules {
    /// Always 1.
    pub version: u32,
    /// The groups.
    pub group: Vec<ModuleGroup>,
}

/// Modules of one purpose.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleGroup {
    /// Its name.
    pub name: String,
    /// The reason.
    pub why: String,
    /// Whether stage 1 loads them.
    #[serde(default)]
    pub initrd: InInitrd,
    /// Their names.
    pub modules: Vec<String>,
}

/// When stage 1 loads a module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InInitrd {
    /// Never: it is in the root volume only.
    #[default]
    No,
    /// On every machine.
    Always,
    /// When a device asks for it.
    ByDevice,
    /// When stage 1 asks for it by name.
    OnDemand,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A5.
    #[test]
    fn the_command_line_ends_with_the_dashes() {
        let cmdline = cmdline();
        let words: Vec<&str> = cmdline.split(' ').collect();
        assert_eq!(words.iter().position(|word| *word == "--"), Some(words.len() - 1), "{cmdline}");
        assert!(!cmdline.contains('"'), "a quote would hide the dashes: {cmdline}");
        assert!(cmdline.len() < 1024, "half of what the kernel takes");
    }

    #[test]
    fn every_rule_file_is_understood_and_gives_reasons() {
        let closed = closed().unwrap();
        for folder in &closed.folder {
            assert!(!folder.why.is_empty(), "{}", folder.path);
            assert!(folder.keep.values().all(|why| !why.is_empty()), "{}", folder.path);
        }
        assert!(removals().unwrap().remove.iter().all(|removal| !removal.why.is_empty()));
        assert!(units().unwrap().keep.values().all(|why| !why.is_empty()));
        ids().unwrap();
        assert!(kernel_options().unwrap().option.iter().all(|option| !option.why.is_empty()));
        for groups in [modules().unwrap(), drivers_metal().unwrap()] {
            assert!(groups.group.iter().all(|group| !group.why.is_empty() && !group.modules.is_empty()));
        }
    }
}
