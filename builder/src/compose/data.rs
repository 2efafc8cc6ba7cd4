//! The rules of composition as data: the files of `rootfs/` and `kernel-config/`.
//!
//! They are compiled into the program, so a version of the builder always composes by the same rules.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A rule file does not parse. This is an error of the project, not of the user.
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

/// Returns the kernel command line from `kernel-config/cmdline`. The file has one word per line; the words are joined with single spaces.
/// The last word is `--`: systemd-stub appends the hypervisor's command line, and the kernel ignores parameters after `--`.
pub fn cmdline() -> String {
    let text = include_str!("../../../kernel-config/cmdline");
    let words = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    words.collect::<Vec<_>>().join(" ")
}

include!(concat!(env!("OUT_DIR"), "/overlay.rs"));

/// `rootfs/closed.toml`: folders in which only the listed entries stay.
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

/// An accepted file capability.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capability {
    /// The value of `security.capability` in hexadecimal digits.
    pub value: String,
    /// The reason.
    pub why: String,
}

/// `rootfs/remove.toml`: files to remove.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Removals {
    /// Always 1.
    pub version: u32,
    /// The removal rules.
    pub remove: Vec<Removal>,
}

/// A removal rule.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Removal {
    /// The path pattern; `*` matches within one component.
    pub path: String,
    /// File names (last components) that the rule does not remove.
    #[serde(default)]
    pub except: Vec<String>,
    /// Whether the pattern may have no match.
    #[serde(default)]
    pub optional: bool,
    /// The reason.
    pub why: String,
}

/// `rootfs/units.toml`: the systemd units of the image.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Units {
    /// Always 1.
    pub version: u32,
    /// The target that `default.target` links to.
    pub default: String,
    /// Units of packages that stay, with the reason.
    pub keep: BTreeMap<String, String>,
    /// Additional names of units.
    pub alias: Vec<UnitAlias>,
    /// The units that targets start.
    pub enable: Vec<Enable>,
}

/// An additional name of a unit.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitAlias {
    /// The additional name.
    pub name: String,
    /// The name of the unit that it refers to.
    pub unit: String,
    /// The reason.
    pub why: String,
}

/// Units that a target wants.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enable {
    /// The target.
    pub target: String,
    /// The units.
    pub units: Vec<String>,
}

/// `rootfs/ids.toml`: pinned user and group ids.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ids {
    /// Always 1.
    pub version: u32,
    /// Ids and groups of users, by user name.
    pub user: BTreeMap<String, UserId>,
    /// Group ids by group name.
    pub group: BTreeMap<String, u32>,
    /// Accounts that packages declare but the image does not use.
    pub unused: Unused,
}

/// A pinned user.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserId {
    /// The user id.
    pub id: u32,
    /// The name of the primary group.
    pub group: String,
}

/// Declared accounts that are not created.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unused {
    /// User names.
    pub users: Vec<String>,
    /// Group names.
    pub groups: Vec<String>,
    /// The reason.
    pub why: String,
}

/// `kernel-config/required.toml`: kernel options that the build requires.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelOptions {
    /// Always 1.
    pub version: u32,
    /// The required options.
    pub option: Vec<KernelOption>,
}

/// A required option of the kernel configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelOption {
    /// The option's name, `CONFIG_…`.
    pub name: String,
    /// The accepted values.
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

/// A group of modules for one purpose.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleGroup {
    /// The group's name.
    pub name: String,
    /// The reason.
    pub why: String,
    /// Whether and when stage 1 loads the modules.
    #[serde(default)]
    pub initrd: InInitrd,
    /// The modules' names.
    pub modules: Vec<String>,
}

/// When stage 1 loads a module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InInitrd {
    /// Never; the module is in the root volume only.
    #[default]
    No,
    /// On every machine.
    Always,
    /// When a device matches an alias of the module.
    ByDevice,
    /// When stage 1 requests it by name.
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
        assert!(cmdline.len() < 1024, "the command line is longer than half of the kernel's limit");
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
