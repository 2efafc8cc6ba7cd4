//! The resolver: computes the closure of each set over `Depends` and `Pre-Depends`.
//!
//! It is pure and deterministic: the same selection and index give the same result, independent of the order of the roots. The only
//! candidate for a name is its newest version. There is no backtracking: a version that does not fit is an error that names both
//! packages. `Recommends` is not followed and `Essential: yes` is not implied: a set lists every package that it needs beyond its
//! dependencies. Dependencies with one alternative are followed before those with several, so that an alternative that is already
//! chosen satisfies the latter.

pub mod selection;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use thiserror::Error;

use crate::index::relation::{Group, Relation};
use crate::index::{Index, IndexError, Package};
use selection::{Cut, Selection};

/// A set that cannot be resolved.
#[derive(Debug, Error)]
pub enum ResolveError {
    /// A stanza cannot be parsed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// No archive contains a root.
    #[error("set {set}: no archive contains {package}")]
    UnknownRoot {
        /// The set.
        set: String,
        /// The root.
        package: String,
    },
    /// No candidate satisfies a dependency.
    #[error("set {set}: {package} {version} needs {group}, which no candidate satisfies")]
    Unmet {
        /// The set.
        set: String,
        /// The package with the dependency.
        package: String,
        /// Its version.
        version: String,
        /// The dependency.
        group: String,
    },
    /// Several packages provide a virtual package.
    #[error("set {set}: {package} needs {group}, which several packages provide: {providers}")]
    Ambiguous {
        /// The set.
        set: String,
        /// The package with the dependency.
        package: String,
        /// The dependency.
        group: String,
        /// The names of the providers.
        providers: String,
    },
    /// Two packages conflict.
    #[error("set {set}: {package} conflicts with {other} ({relation})")]
    Conflict {
        /// The set.
        set: String,
        /// The package with the `Conflicts` or `Breaks` field.
        package: String,
        /// The other package.
        other: String,
        /// The relation.
        relation: String,
    },
    /// A cut without effect.
    #[error("the cut of {package} has no effect{scope}: remove it")]
    IdleCut {
        /// The cut's package.
        package: String,
        /// The sets of the cut as ` in a, b`, or empty.
        scope: String,
    },
}

/// Why a package is in a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Because {
    /// The set lists it as a root.
    Root,
    /// Another package depends on it.
    NeededBy(String),
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("a root"),
            Self::NeededBy(package) => write!(f, "needed by {package}"),
        }
    }
}

/// A resolved package.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The package from the index.
    pub package: Package,
    /// The sets that contain the package, each with the first reason.
    pub sets: BTreeMap<String, Because>,
}

/// The closures of all sets, merged by package name.
pub type Resolution = BTreeMap<String, Resolved>;

/// Resolves every set of a selection.
pub fn resolve(selection: &Selection, index: &Index) -> Result<Resolution, ResolveError> {
    let mut resolution = Resolution::new();
    let mut used = BTreeSet::new();
    for (name, set) in &selection.sets {
        let cuts = selection.cuts.iter().enumerate().filter(|(_, cut)| cut.holds_in(name)).collect();
        let mut closure = Closure { set: name, index, cuts, used: &mut used, chosen: BTreeMap::new() };
        closure.grow(&set.roots)?;
        closure.check_conflicts()?;
        for (package_name, (package, because)) in closure.chosen {
            let resolved =
                resolution.entry(package_name).or_insert_with(|| Resolved { package, sets: BTreeMap::new() });
            resolved.sets.insert(name.clone(), because);
        }
    }
    let idle = selection.cuts.iter().enumerate().find(|(at, _)| !used.contains(at));
    if let Some((_, cut)) = idle {
        let scope = cut.sets.as_ref().map_or_else(String::new, |sets| format!(" in {}", sets.join(", ")));
        return Err(ResolveError::IdleCut { package: cut.package.clone(), scope });
    }
    Ok(resolution)
}

struct Closure<'a> {
    set: &'a str,
    index: &'a Index,
    cuts: Vec<(usize, &'a Cut)>,
    used: &'a mut BTreeSet<usize>,
    chosen: BTreeMap<String, (Package, Because)>,
}

impl Closure<'_> {
    fn grow(&mut self, roots: &[String]) -> Result<(), ResolveError> {
        let mut single: VecDeque<(String, Group)> = VecDeque::new();
        let mut several: BTreeSet<(String, String)> = BTreeSet::new();
        let mut groups: BTreeMap<(String, String), Group> = BTreeMap::new();
        let roots: BTreeSet<_> = roots.iter().collect();
        for root in roots {
            let package = self.candidate(root)?.ok_or_else(|| ResolveError::UnknownRoot {
                set: self.set.to_owned(),
                package: root.clone(),
            })?;
            single.extend(package.depends.iter().map(|group| (root.clone(), group.clone())));
            self.chosen.insert(root.clone(), (package, Because::Root));
        }
        loop {
            let (asker, group) = match single.pop_front() {
                Some((asker, group)) if group.0.len() > 1 => {
                    let key = (asker, group.to_string());
                    several.insert(key.clone());
                    groups.insert(key, group);
                    continue;
                }
                Some(next) => next,
                None => match several.pop_first() {
                    Some(key) => {
                        let Some(group) = groups.remove(&key) else { continue };
                        (key.0, group)
                    }
                    None => return Ok(()),
                },
            };
            if let Some(package) = self.follow(&asker, &group)? {
                single.extend(package.depends.iter().map(|group| (package.name.clone(), group.clone())));
                self.chosen.insert(package.name.clone(), (package, Because::NeededBy(asker)));
            }
        }
    }

    /// Finds the package to add for a dependency; `None` if the dependency is already satisfied or is cut.
    fn follow(&mut self, asker: &str, group: &Group) -> Result<Option<Package>, ResolveError> {
        if group.0.iter().any(|relation| self.is_met(relation)) {
            return Ok(None);
        }
        for relation in &group.0 {
            if let Some((at, _)) = self.cuts.iter().find(|(_, cut)| cut.package == relation.name) {
                self.used.insert(*at);
                return Ok(None);
            }
            if let Some(package) =
                self.candidate(&relation.name)?.filter(|package| relation.fits(&package.version))
            {
                if self.chosen.contains_key(&package.name) {
                    continue;
                }
                return Ok(Some(package));
            }
            let mut providers = Vec::new();
            for name in self.index.providers(&relation.name) {
                providers.extend(self.candidate(name)?.filter(|package| provides(package, relation)));
            }
            let cut = providers.iter().find_map(|package| {
                self.cuts.iter().find(|(_, cut)| providers.len() == 1 && cut.package == package.name)
            });
            if let Some((at, _)) = cut {
                self.used.insert(*at);
                return Ok(None);
            }
            if providers.len() > 1 {
                let names: Vec<_> = providers.iter().map(|package| package.name.as_str()).collect();
                return Err(ResolveError::Ambiguous {
                    set: self.set.to_owned(),
                    package: asker.to_owned(),
                    group: group.to_string(),
                    providers: names.join(", "),
                });
            }
            if let Some(package) = providers.pop() {
                return Ok(Some(package));
            }
        }
        let version =
            self.chosen.get(asker).map(|(package, _)| package.version.to_string()).unwrap_or_default();
        Err(ResolveError::Unmet {
            set: self.set.to_owned(),
            package: asker.to_owned(),
            version,
            group: group.to_string(),
        })
    }

    fn candidate(&self, name: &str) -> Result<Option<Package>, ResolveError> {
        Ok(self.index.candidates(name)?.into_iter().next())
    }

    fn is_met(&self, relation: &Relation) -> bool {
        let by_name =
            self.chosen.get(&relation.name).is_some_and(|(package, _)| relation.fits(&package.version));
        by_name || self.chosen.values().any(|(package, _)| provides(package, relation))
    }

    fn check_conflicts(&self) -> Result<(), ResolveError> {
        for (package, _) in self.chosen.values() {
            let is_other = |other: &Package| other.name != package.name;
            for relation in package.conflicts.iter().flat_map(|group| &group.0) {
                let by_name =
                    self.chosen.get(&relation.name).filter(|(other, _)| relation.fits(&other.version));
                let by_provides =
                    || self.chosen.values().find(|(other, _)| provides(other, relation) && is_other(other));
                let other = by_name.filter(|(other, _)| is_other(other)).or_else(by_provides);
                if let Some((other, _)) = other {
                    return Err(ResolveError::Conflict {
                        set: self.set.to_owned(),
                        package: package.name.clone(),
                        other: other.name.clone(),
                        relation: relation.to_string(),
                    });
                }
            }
        }
        Ok(())
    }
}

/// Whether a package provides the package of a relation. A relation with a version needs a versioned `Provides` (policy §7.5).
fn provides(package: &Package, relation: &Relation) -> bool {
    package.provides.iter().any(|(name, version)| {
        *name == relation.name
            && (relation.version.is_none() || version.as_ref().is_some_and(|version| relation.fits(version)))
    })
}

#[cfg(test)]
mod tests;
