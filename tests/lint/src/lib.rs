//! Checks the workspace's structure. Violations are: a dependency between crates that is not allowed, a forbidden crate among the
//! dependencies of stage 1, an unused dependency, a file without a module head, a library that does not forbid `unsafe`.
//!
//! [`Workspace`] contains the observed structure, [`Structure`] the allowed one, and [`violations`] compares them. Only
//! [`Workspace::read`] does I/O.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The allowed structure.
#[derive(Debug, Deserialize)]
pub struct Structure {
    edges: BTreeMap<String, BTreeSet<String>>,
    #[serde(default)]
    forbidden: Vec<Exception>,
    #[serde(default)]
    unnamed: Vec<Exception>,
    r#unsafe: Unsafe,
}

/// An exception for one crate.
#[derive(Debug, Deserialize)]
struct Exception {
    r#in: String,
    crates: BTreeSet<String>,
    why: String,
}

#[derive(Debug, Deserialize)]
struct Unsafe {
    crates: BTreeSet<String>,
}

impl Structure {
    /// Reads `structure.toml`.
    ///
    /// # Errors
    /// If the text is not TOML or does not have the expected keys.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }
}

/// Why the workspace cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The output of `cargo metadata` does not have the expected format.
    #[error("the output of cargo metadata has an unknown format")]
    Metadata(#[from] serde_json::Error),
    /// A source file cannot be read.
    #[error("failed to read {}", .0.display())]
    File(PathBuf, #[source] io::Error),
}

/// The observed structure.
#[derive(Debug, Default)]
pub struct Workspace {
    members: Vec<Member>,
    /// The name and the normal dependencies (ids) of every package, by id.
    built_from: BTreeMap<String, (String, Vec<String>)>,
}

#[derive(Debug, Default)]
struct Member {
    id: String,
    name: String,
    /// The name in the source code (`serde_json`) and the name in the manifest (`serde-json`).
    dependencies: Vec<(String, String)>,
    sources: Vec<Source>,
}

#[derive(Debug)]
struct Source {
    path: PathBuf,
    text: String,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    rename: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    kind: Option<String>,
}

impl Workspace {
    /// Parses the output of `cargo metadata` and reads the sources of every member.
    ///
    /// # Errors
    /// If `metadata` has an unknown format, or a source file cannot be read.
    pub fn read(root: &Path, metadata: &[u8]) -> Result<Self, ReadError> {
        let metadata: Metadata = serde_json::from_slice(metadata)?;
        let names: BTreeMap<&str, &str> =
            metadata.packages.iter().map(|package| (package.id.as_str(), package.name.as_str())).collect();
        let built_from = metadata.resolve.nodes.iter().map(|node| {
            let normal =
                node.deps.iter().filter(|edge| edge.dep_kinds.iter().any(|kind| kind.kind.is_none()));
            let name = names.get(node.id.as_str()).copied().unwrap_or_default().to_owned();
            (node.id.clone(), (name, normal.map(|edge| edge.pkg.clone()).collect()))
        });
        let built_from = built_from.collect();
        let is_member = |package: &&Package| metadata.workspace_members.contains(&package.id);
        let folders: Vec<&Path> = metadata
            .packages
            .iter()
            .filter(is_member)
            .filter_map(|package| package.manifest_path.parent())
            .collect();
        let mut members = Vec::new();
        for package in metadata.packages.iter().filter(is_member) {
            let folder = package.manifest_path.parent().unwrap_or(root);
            let mut sources = Vec::new();
            read_sources(folder, folder, &folders, root, &mut sources)?;
            members.push(Member {
                id: package.id.clone(),
                name: package.name.clone(),
                dependencies: package
                    .dependencies
                    .iter()
                    .map(|dependency| {
                        let written = dependency.rename.as_ref().unwrap_or(&dependency.name);
                        (written.replace('-', "_"), dependency.name.clone())
                    })
                    .collect(),
                sources,
            });
        }
        Ok(Self { members, built_from })
    }
}

/// Reads every `.rs` file below `at` that does not belong to another member.
fn read_sources(
    at: &Path,
    member: &Path,
    members: &[&Path],
    root: &Path,
    sources: &mut Vec<Source>,
) -> Result<(), ReadError> {
    let failed = |source| ReadError::File(at.to_owned(), source);
    for entry in fs::read_dir(at).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            let is_foreign =
                path.ends_with("target") || (path != member && members.contains(&path.as_path()));
            if !is_foreign {
                read_sources(&path, member, members, root, sources)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).map_err(|source| ReadError::File(path.clone(), source))?;
            let path = path.strip_prefix(root).unwrap_or(&path).to_owned();
            sources.push(Source { path, text });
        }
    }
    Ok(())
}

/// The differences between the workspace and the allowed structure, as messages.
pub fn violations(workspace: &Workspace, structure: &Structure) -> Vec<String> {
    let mut found = Vec::new();
    for member in &workspace.members {
        edges(member, structure, &mut found);
        unused(member, structure, &mut found);
        heads(member, &mut found);
        unsafe_code(member, structure, &mut found);
        found.extend(structure.forbidden.iter().filter(|rule| rule.r#in == member.name).flat_map(|rule| {
            let tree = tree(workspace, &member.id);
            let inside: Vec<_> =
                rule.crates.iter().filter(|name| tree.contains(name.as_str())).cloned().collect();
            inside.into_iter().map(|name| format!("{} depends on {name}: {}", member.name, rule.why))
        }));
    }
    found
}

fn edges(member: &Member, structure: &Structure, found: &mut Vec<String>) {
    let Some(allowed) = structure.edges.get(&member.name) else {
        found.push(format!("{} is not listed under [edges] in tests/lint/structure.toml", member.name));
        return;
    };
    for (_, name) in &member.dependencies {
        if structure.edges.contains_key(name) && !allowed.contains(name) {
            found.push(format!("{} may not depend on {name} (tests/lint/structure.toml)", member.name));
        }
    }
}

/// A dependency counts as used if its name is a word in a source file, outside of comments.
fn unused(member: &Member, structure: &Structure, found: &mut Vec<String>) {
    let is_unnamed = |name: &String| {
        structure.unnamed.iter().any(|rule| rule.r#in == member.name && rule.crates.contains(name))
    };
    let words: BTreeSet<&str> = member
        .sources
        .iter()
        .flat_map(|source| source.text.lines())
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_'))
        .collect();
    for (word, name) in &member.dependencies {
        if !words.contains(word.as_str()) && !is_unnamed(name) {
            found.push(format!("{} does not use its dependency {name}", member.name));
        }
    }
}

fn heads(member: &Member, found: &mut Vec<String>) {
    for Source { path, text } in &member.sources {
        let is_generated = path.components().any(|part| part.as_os_str() == "fuzz_targets");
        let has_head = text
            .lines()
            .next()
            .is_some_and(|line| line.strip_prefix("//!").is_some_and(|rest| rest.len() > 10));
        if !has_head && !is_generated {
            found.push(format!(
                "{} has no module head: the first line must be a //! comment that describes the file",
                path.display()
            ));
        }
    }
}

fn unsafe_code(member: &Member, structure: &Structure, found: &mut Vec<String>) {
    if structure.r#unsafe.crates.contains(&member.name) {
        return;
    }
    let is_root = |path: &Path| {
        path.file_name().is_some_and(|name| name == "lib.rs")
            && path.parent().is_some_and(|parent| parent.ends_with("src"))
    };
    for Source { path, text } in member.sources.iter().filter(|source| is_root(&source.path)) {
        if !text.contains("#![forbid(unsafe_code)]") {
            found.push(format!("{} does not forbid unsafe_code", path.display()));
        }
    }
}

/// The names of a package and all its direct and indirect dependencies. Build and test dependencies do not count.
fn tree<'a>(workspace: &'a Workspace, id: &'a str) -> BTreeSet<&'a str> {
    let (mut seen, mut names, mut next) = (BTreeSet::new(), BTreeSet::new(), vec![id]);
    while let Some(id) = next.pop() {
        if let (true, Some((name, deps))) = (seen.insert(id), workspace.built_from.get(id)) {
            names.insert(name.as_str());
            next.extend(deps.iter().map(String::as_str));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRUCTURE: &str = "
        [edges]
        one = []
        two = ['one']
        [[forbidden]]
        in = 'two'
        crates = ['tokio']
        why = 'it is synchronous'
        [unsafe]
        crates = []
    ";

    fn member(name: &str, dependencies: &[&str], text: &str) -> Member {
        Member {
            id: name.into(),
            name: name.into(),
            dependencies: dependencies
                .iter()
                .map(|name| (name.replace('-', "_"), (*name).to_owned()))
                .collect(),
            sources: vec![Source { path: format!("{name}/src/lib.rs").into(), text: text.into() }],
        }
    }

    fn good() -> Workspace {
        let members = vec![
            member("one", &[], "//! What one owns.\n#![forbid(unsafe_code)]\n"),
            member(
                "two",
                &["one", "serde-json"],
                "//! What two owns.\n#![forbid(unsafe_code)]\nuse one::X;\nuse serde_json as json;\n",
            ),
        ];
        let built_from = [
            ("one", "one", &[][..]),
            ("two", "two", &["one", "j 1.0"]),
            ("j 1.0", "serde_json", &[]),
            ("t 1.0", "tokio", &[]),
        ];
        let built_from = built_from.map(|(id, name, deps)| {
            (id.to_owned(), (name.to_owned(), deps.iter().map(|dep| (*dep).to_owned()).collect()))
        });
        Workspace { members, built_from: built_from.into() }
    }

    fn broken(how: impl FnOnce(&mut Workspace)) -> Vec<String> {
        let mut workspace = good();
        how(&mut workspace);
        violations(&workspace, &Structure::parse(STRUCTURE).unwrap())
    }

    #[test]
    fn a_workspace_without_violations_is_accepted() {
        assert_eq!(broken(|_| ()), Vec::<String>::new());
    }

    #[test]
    fn each_violation_is_reported() {
        let cases: [(&str, Vec<String>); 7] = [
            (
                "one may not depend on two",
                broken(|w| {
                    w.members[0].dependencies.push(("two".into(), "two".into()));
                    w.members[0].sources[0].text.push_str("use two::Y;\n");
                }),
            ),
            (
                "three is not listed",
                broken(|w| {
                    w.members.push(member("three", &[], "//! What three owns.\n#![forbid(unsafe_code)]"))
                }),
            ),
            (
                "two depends on tokio: it is synchronous",
                broken(|w| {
                    w.built_from.get_mut("j 1.0").unwrap().1.push("t 1.0".into());
                }),
            ),
            (
                "two does not use its dependency serde-json",
                broken(|w| {
                    w.members[1].sources[0].text =
                        "//! What two owns.\n#![forbid(unsafe_code)]\n// serde_json\nuse one::X;\n".into();
                }),
            ),
            (
                "one/src/lib.rs has no module head",
                broken(|w| w.members[0].sources[0].text = "#![forbid(unsafe_code)]\n".into()),
            ),
            (
                "one/src/lib.rs has no module head",
                broken(|w| w.members[0].sources[0].text = "//!\n#![forbid(unsafe_code)]\n".into()),
            ),
            (
                "one/src/lib.rs does not forbid unsafe_code",
                broken(|w| w.members[0].sources[0].text = "//! What one owns.\n".into()),
            ),
        ];
        for (expected, found) in cases {
            assert_eq!(found.len(), 1, "{expected}: {found:?}");
            assert!(found[0].starts_with(expected), "{found:?}");
        }
    }

    #[test]
    fn every_member_of_this_workspace_has_sources() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
        let metadata = std::process::Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--locked"])
            .current_dir(&root)
            .output()
            .unwrap();
        let workspace = Workspace::read(&root, &metadata.stdout).unwrap();
        assert!(
            workspace.members.len() > 10 && workspace.members.iter().all(|member| !member.sources.is_empty())
        );
        let stage1 = workspace.members.iter().find(|member| member.name == "kubedos-stage1").unwrap();
        assert!(tree(&workspace, &stage1.id).contains("kubedos-wire"));
        let agent = workspace.members.iter().find(|member| member.name == "kubedos-agent").unwrap();
        assert!(
            tree(&workspace, &agent.id).contains("zbus"),
            "a crate that is forbidden in stage 1 is found in the agent"
        );
    }
}
