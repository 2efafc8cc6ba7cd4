//! The index files that depmod(8) generates, for the kept modules. modprobe and udev read them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::index::{Index, TooLarge};
use super::module::{Module, entries, name_of};

/// Returns the index files as pairs of name and content.
///
/// # Errors
/// [`TooLarge`].
pub fn files(
    modules: &BTreeMap<String, Module>,
    builtin: &[u8],
    builtin_info: &[u8],
) -> Result<Vec<(&'static str, Vec<u8>)>, TooLarge> {
    let mut by_order: Vec<&Module> = modules.values().collect();
    by_order.sort_by(|a, b| (a.priority, &a.name).cmp(&(b.priority, &b.name)));
    Ok(vec![
        ("modules.dep.bin", dependencies(modules, &by_order).encode()?),
        ("modules.alias.bin", aliases(&by_order).encode()?),
        ("modules.symbols.bin", symbols(&by_order).encode()?),
        ("modules.builtin.bin", builtin_index(builtin).encode()?),
        ("modules.builtin.alias.bin", builtin_aliases(builtin_info).encode()?),
        ("modules.softdep", soft(&by_order, "softdep", |module| &module.softdeps)),
        ("modules.weakdep", soft(&by_order, "weakdep", |module| &module.weakdeps)),
        ("modules.devname", device_names(&by_order)),
    ])
}

/// Returns the names of the modules that are built into the kernel.
pub fn builtin_names(builtin: &[u8]) -> BTreeSet<String> {
    String::from_utf8_lossy(builtin).lines().filter(|line| !line.is_empty()).map(name_of).collect()
}

/// `path: path…`: a module and everything that must be loaded before it, in reverse order of loading.
fn dependencies(modules: &BTreeMap<String, Module>, by_order: &[&Module]) -> Index {
    let mut index = Index::default();
    for (at, module) in by_order.iter().enumerate() {
        let mut value = format!("{}:", module.path);
        for name in order(modules, &module.name).iter().rev().filter(|name| **name != module.name) {
            if let Some(needed) = modules.get(*name) {
                value.push(' ');
                value.push_str(&needed.path);
            }
        }
        index.insert(&module.name, &value, at);
    }
    index
}

/// Returns a module and its dependencies in the order of loading.
pub fn order<'a>(modules: &'a BTreeMap<String, Module>, name: &str) -> Vec<&'a str> {
    fn visit<'a>(
        modules: &'a BTreeMap<String, Module>,
        name: &str,
        seen: &mut BTreeSet<&'a str>,
        order: &mut Vec<&'a str>,
    ) {
        if let Some((name, module)) = modules.get_key_value(name)
            && seen.insert(name)
        {
            for need in &module.depends {
                visit(modules, need, seen, order);
            }
            order.push(name);
        }
    }
    let mut order = Vec::new();
    visit(modules, name, &mut BTreeSet::new(), &mut order);
    order
}

fn aliases(by_order: &[&Module]) -> Index {
    let mut index = Index::default();
    for (at, module) in by_order.iter().enumerate() {
        for alias in &module.aliases {
            index.insert(&underscores(alias), &module.name, at);
        }
    }
    index
}

fn symbols(by_order: &[&Module]) -> Index {
    let mut index = Index::default();
    for (at, module) in by_order.iter().enumerate() {
        for symbol in &module.exports {
            index.insert(&format!("symbol:{symbol}"), &module.name, at);
        }
    }
    index
}

fn builtin_index(builtin: &[u8]) -> Index {
    let mut index = Index::default();
    for name in builtin_names(builtin) {
        index.insert(&name, "", 0);
    }
    index
}

/// Entries of built-in modules have the form `module.key=value`.
fn builtin_aliases(info: &[u8]) -> Index {
    let mut index = Index::default();
    for (key, value) in entries(info) {
        if let Some(name) = key.strip_suffix(".alias") {
            index.insert(&underscores(&value), name, 0);
        }
    }
    index
}

fn soft(by_order: &[&Module], word: &str, of: impl Fn(&Module) -> &Vec<String>) -> Vec<u8> {
    let mut text = String::new();
    for module in by_order {
        for dependency in of(module) {
            // Writing to a string cannot fail.
            let _ok = writeln!(text, "{word} {} {dependency}", module.name).is_ok();
        }
    }
    text.into_bytes()
}

/// The modules that the kernel loads when their device node is opened: `name node c10:232`.
fn device_names(by_order: &[&Module]) -> Vec<u8> {
    let mut text = String::new();
    for module in by_order {
        let node = module.aliases.iter().find_map(|alias| alias.strip_prefix("devname:"));
        let number = module.aliases.iter().find_map(|alias| {
            let (letter, numbers) = match alias.split_once("-major-")? {
                ("char", numbers) => ('c', numbers),
                ("block", numbers) => ('b', numbers),
                _ => return None,
            };
            let (major, minor) = numbers.split_once('-')?;
            Some((letter, major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
        });
        if let (Some(node), Some((letter, major, minor))) = (node, number) {
            let _ok = writeln!(text, "{} {node} {letter}{major}:{minor}", module.name).is_ok();
        }
    }
    text.into_bytes()
}

/// Replaces `-` by `_`, except between brackets.
fn underscores(alias: &str) -> String {
    let mut inside = false;
    alias
        .chars()
        .map(|c| {
            inside = (inside || c == '[') && c != ']';
            if c == '-' && !inside { '_' } else { c }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_become_underscores_outside_of_brackets() {
        assert_eq!(underscores("fs-[a-c]-x"), "fs_[a-c]_x");
        assert_eq!(
            builtin_names(b"kernel/fs/ext4/ext4.ko\nkernel/a/b-c.ko\n").into_iter().collect::<Vec<_>>(),
            ["b_c", "ext4"]
        );
    }
}
