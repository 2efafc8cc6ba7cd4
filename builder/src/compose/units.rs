//! systemd units: an allow-list of units and the links that start them. Presets and `[Install]` sections are ignored.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::data::Units;
use super::rules::keep_only;
use super::tree::{Node, Tree, TreeError};

/// The folder of the units.
pub const FOLDER: &str = "usr/lib/systemd/system";

/// The errors of the units.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UnitError {
    /// A listed unit does not exist.
    #[error("rootfs/units.toml names the unit {0}, which is not in the image")]
    Missing(String),
    /// The file does not fit into the tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// Removes all units of packages that are not listed. The caller applies the overlay, with kubedOS's own units, afterwards.
pub fn keep(tree: &mut Tree, units: &Units) -> Result<(), UnitError> {
    let names: BTreeSet<&str> = units.keep.keys().map(String::as_str).collect();
    keep_only(tree, FOLDER, &names).map_err(UnitError::Missing)
}

/// Writes the default target, the aliases and the start links.
pub fn enable(tree: &mut Tree, units: &Units, origin: &Arc<str>) -> Result<(), UnitError> {
    tree.retain(|path, node| {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let linked = [path, folder].iter().any(|p| p.ends_with(".wants") || p.ends_with(".requires"));
        !(path.starts_with(FOLDER) && linked && node.origin != *origin)
    });
    let there = |tree: &Tree, unit: &str| match tree.get(&format!("{FOLDER}/{unit}")) {
        Some(_) => Ok(()),
        None => Err(UnitError::Missing(unit.to_owned())),
    };
    for alias in &units.alias {
        there(tree, &alias.unit)?;
        tree.replace(&format!("{FOLDER}/{}", alias.name), Node::symlink(alias.unit.as_str(), origin))?;
    }
    there(tree, &units.default)?;
    tree.replace(&format!("{FOLDER}/default.target"), Node::symlink(units.default.as_str(), origin))?;
    for enable in &units.enable {
        there(tree, &enable.target)?;
        for unit in &enable.units {
            there(tree, unit)?;
            let link = format!("{FOLDER}/{}.wants/{unit}", enable.target);
            tree.replace(&link, Node::symlink(format!("../{unit}"), origin))?;
        }
    }
    // If systemd ever detected a first boot, it would enable units by presets; this preset enables no unit.
    let preset = Node::file(*b"disable *\n", origin);
    tree.replace("usr/lib/systemd/system-preset/00-kubedos.preset", preset)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units() -> Units {
        toml::from_str(
            "version = 1\ndefault = \"a.target\"\nkeep = { \"a.target\" = \"x\", \"b.service\" = \"x\" }\n\
             alias = [{ name = \"c.service\", unit = \"b.service\", why = \"x\" }]\n\
             enable = [{ target = \"a.target\", units = [\"b.service\"] }]",
        )
        .unwrap()
    }

    fn tree() -> Tree {
        let mut tree = Tree::new(0);
        for unit in ["a.target", "b.service", "emergency.service", "a.target.wants/getty.target"] {
            tree.add(&format!("{FOLDER}/{unit}"), Node::file(*b"", &Arc::from("systemd"))).unwrap();
        }
        tree
    }

    #[test]
    fn only_listed_units_stay_and_only_our_links_start_them() {
        let mut tree = tree();
        keep(&mut tree, &units()).unwrap();
        enable(&mut tree, &units(), &Arc::from("kubedos")).unwrap();
        let paths: Vec<_> = tree.below(FOLDER).map(|(path, _)| path.trim_start_matches(FOLDER)).collect();
        let want = [
            "/a.target",
            "/a.target.wants",
            "/a.target.wants/b.service",
            "/b.service",
            "/c.service",
            "/default.target",
        ];
        assert_eq!(paths, want);
    }

    #[test]
    fn a_listed_unit_that_is_missing_is_reported() {
        let mut less = tree();
        less.remove(&format!("{FOLDER}/b.service"));
        assert_eq!(keep(&mut less.clone(), &units()), Err(UnitError::Missing("b.service".into())));
        assert_eq!(enable(&mut less, &units(), &Arc::from("k")), Err(UnitError::Missing("b.service".into())));
    }
}
