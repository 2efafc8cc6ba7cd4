//! Shows the differences between two build outputs.
//!
//! Both files are inspected, and the two documents are compared field by field. Lists are matched by the name or path of their elements, so
//! an added element is one difference and does not shift the following ones. For volumes with different root hashes the files are compared;
//! for all partitions the bytes are compared too, which also finds differences that `inspect` does not show.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};

use kubedos_wire::printable::{self, Row};
use kubedos_wire::seal::Seal;
use kubedos_wire::seal::Volume;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::artifact::{self, Artifact, ArtifactError, Disk};
use crate::compare::{self, BLOCK};
use crate::inspect::{self, Content, Problem, Trees};

/// The comparison of two files.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// Always 1.
    pub version: u32,
    /// The first file.
    pub a: PathBuf,
    /// The second file.
    pub b: PathBuf,
    /// True if there is no difference. A raw image and a qcow2 file of the same disk are equal.
    pub equal: bool,
    /// The differences by part.
    pub differences: BTreeMap<String, Vec<Difference>>,
    /// The parts that both files have and that are the same.
    pub same: BTreeSet<String>,
}

/// A leaf of the document that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The path in the volume, for files of volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The field within the part, such as `uki.boot.root.root_hash`; empty for the part itself.
    pub field: String,
    /// The first file's value; `null` if it has none.
    pub a: Value,
    /// The second file's value; `null` if it has none.
    pub b: Value,
}

/// The errors of a comparison.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// One of the files cannot be inspected.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// A part of one of the files cannot be read.
    #[error("{} cannot be compared: {}: {}", path.display(), problem.part, problem.error)]
    Problem {
        /// The file.
        path: PathBuf,
        /// The part and the error.
        problem: Problem,
    },
    /// The files are of different kinds.
    #[error("a {a} cannot be compared with a {b}")]
    Kinds {
        /// The kind of the first file.
        a: String,
        /// The kind of the second file.
        b: String,
    },
    /// The content of a partition cannot be read.
    #[error("cannot read partition {0}")]
    Read(String, #[source] std::io::Error),
    /// Internal error: a document does not serialize.
    #[error("failed to compare the documents")]
    Document(#[from] serde_json::Error),
}

/// Compares two files, or two folders by their manifests.
///
/// # Errors
/// [`DiffError`].
pub fn diff(a: &Path, b: &Path) -> Result<Comparison, DiffError> {
    let ((left, left_volumes), (right, right_volumes)) = (document(a)?, document(b)?);
    let kind = |document: &Value| document.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    if kind(&left) != kind(&right) {
        return Err(DiffError::Kinds { a: kind(&left), b: kind(&right) });
    }
    let mut found = Found::default();
    if let (Value::Object(left), Value::Object(right)) = (&left, &right) {
        // The location of a file, its wrapper and the wrapper's length do not describe its content.
        let own = |map: &Map<String, Value>| {
            let mut map = map.clone();
            ["version", "file", "bytes", "kind", "problems", "wrapper"]
                .iter()
                .for_each(|key| drop(map.remove(*key)));
            map
        };
        found.parts(&own(left), &own(right));
    }
    if let (Artifact::Disk(left), Artifact::Disk(right)) = (open(a)?, open(b)?) {
        found.contents(&left, &right)?;
        for (name, [one, other]) in changed(&left_volumes, &right_volumes) {
            found.files(name, &listing(a, &left, name, &one)?, &listing(b, &right, name, &other)?);
        }
    }
    let differences = found.differences;
    let same = found.seen.into_iter().filter(|part| !differences.contains_key(part)).collect();
    Ok(Comparison {
        version: 1,
        a: a.to_owned(),
        b: b.to_owned(),
        equal: differences.is_empty(),
        differences,
        same,
    })
}

fn open(path: &Path) -> Result<Artifact, ArtifactError> {
    artifact::open(&artifact::resolve(path)?)
}

type Volumes = BTreeMap<&'static str, Seal>;

/// Returns the document that `inspect` creates for a file, and the volumes whose partitions exist.
fn document(path: &Path) -> Result<(Value, Volumes), DiffError> {
    let report = inspect::inspect(path, Trees::Closed)?;
    if let Some(problem) = report.problems.first() {
        return Err(DiffError::Problem { path: path.to_owned(), problem: problem.clone() });
    }
    let volumes = match &report.content {
        Content::Disk(disk) => disk.volumes.as_slice(),
        _ => &[],
    };
    let volumes = volumes.iter().filter(|volume| volume.present).map(|volume| (volume.name, volume.seal));
    let volumes = volumes.collect();
    Ok((serde_json::to_value(report)?, volumes))
}

/// Returns the volumes that both files have and that differ.
fn changed(a: &Volumes, b: &Volumes) -> Vec<(&'static str, [Seal; 2])> {
    let both = a.iter().filter_map(|(name, one)| Some((*name, [*one, *b.get(name)?])));
    both.filter(|(_, [one, other])| one.root_hash != other.root_hash).collect()
}

/// Lists all paths of a volume; the keys are the names as text.
fn listing(path: &Path, disk: &Disk, name: &str, seal: &Seal) -> Result<Map<String, Value>, DiffError> {
    let failed = |error: &dyn std::error::Error| DiffError::Problem {
        path: path.to_owned(),
        problem: Problem::new(format!("files of {name}"), error),
    };
    let volume = [Volume::Root, Volume::Payload, Volume::Configuration];
    let Some(volume) = volume.into_iter().find(|volume| volume.name() == name) else { return Ok(Map::new()) };
    let [data, _] = disk.volume(volume, seal).map_err(|error| failed(&error))?;
    let entries = inspect::listing(&data).map_err(|error| failed(&error))?.entries.unwrap_or_default();
    let mut map = Map::new();
    for entry in entries {
        map.insert(entry.path.clone(), serde_json::to_value(entry)?);
    }
    Ok(map)
}

#[derive(Default)]
struct Found {
    differences: BTreeMap<String, Vec<Difference>>,
    seen: BTreeSet<String>,
}

impl Found {
    /// Compares the members of the documents; each element of a list of named things is a separate part.
    fn parts(&mut self, a: &Map<String, Value>, b: &Map<String, Value>) {
        for key in keys(a, b) {
            let (left, right) = (a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null));
            match (named(left), named(right)) {
                (Some(left), Some(right)) => {
                    for name in keys(&left, &right) {
                        let part = part(key, name);
                        self.leaves(&part, "", left.get(name), right.get(name));
                    }
                }
                _ => self.leaves(&part(key, ""), "", Some(left), Some(right)),
            }
        }
    }

    fn leaves(&mut self, part: &str, field: &str, a: Option<&Value>, b: Option<&Value>) {
        let (a, b) = (a.unwrap_or(&Value::Null), b.unwrap_or(&Value::Null));
        if (a, b) == (&Value::Null, &Value::Null) {
            return;
        }
        self.seen.insert(part.to_owned());
        if a == b {
            return;
        }
        let within = |key: &str| if field.is_empty() { key.to_owned() } else { format!("{field}.{key}") };
        let pair = match (a, b) {
            (Value::Object(a), Value::Object(b)) => Some((a.clone(), b.clone())),
            _ => named(a).zip(named(b)),
        };
        match pair {
            Some((a, b)) => {
                for key in keys(&a, &b) {
                    self.leaves(part, &within(key), a.get(key), b.get(key));
                }
            }
            None => self.add(part, field, a.clone(), b.clone()),
        }
    }

    fn add(&mut self, part: &str, field: &str, a: Value, b: Value) {
        let difference = Difference { path: None, field: field.to_owned(), a, b };
        self.differences.entry(part.to_owned()).or_default().push(difference);
    }

    /// Compares the files of a volume path by path.
    fn files(&mut self, volume: &str, a: &Map<String, Value>, b: &Map<String, Value>) {
        let part = format!("files of {volume}");
        for path in keys(a, b) {
            let before = self.differences.get(&part).map_or(0, Vec::len);
            self.leaves(&part, "", a.get(path), b.get(path));
            let found = self.differences.get_mut(&part).and_then(|all| all.get_mut(before..));
            found.unwrap_or_default().iter_mut().for_each(|found| found.path = Some(path.clone()));
        }
        self.seen.insert(part);
    }

    /// Compares the bytes of the partitions that both disks have.
    fn contents(&mut self, a: &Disk, b: &Disk) -> Result<(), DiffError> {
        for (number, left) in a.found().table.partitions() {
            let Some(right) = b.found().table.get(number).filter(|right| right.name == left.name) else {
                continue;
            };
            let (Ok(one), Ok(other)) = (a.window(left), b.window(right)) else { continue };
            let failed = |error| DiffError::Read(left.name.clone(), error);
            let found = compare::differences(&one, &other).map_err(failed)?;
            if let Some(first) = found.first {
                let (count, first) = (found.blocks, first / BLOCK);
                let blocks =
                    if count == 1 { "block of 4096 bytes differs" } else { "blocks of 4096 bytes differ" };
                let text = format!("{count} {blocks}, the first is block {first}");
                self.add(&part("partitions", &left.name), "content", Value::Null, text.into());
            }
        }
        Ok(())
    }
}

/// Converts a list of named things to a map by name; `None` for anything else.
fn named(value: &Value) -> Option<Map<String, Value>> {
    let Value::Array(list) = value else { return None };
    let name = |element: &Value| -> Option<String> {
        let found = ["path", "name", "id"].iter().find_map(|key| element.get(*key)?.as_str());
        found.map(str::to_owned)
    };
    let map: Option<Map<String, Value>> =
        list.iter().map(|element| Some((name(element)?, element.clone()))).collect();
    // Two elements of the same name would hide each other.
    map.filter(|map| map.len() == list.len())
}

fn keys<'v>(a: &'v Map<String, Value>, b: &'v Map<String, Value>) -> BTreeSet<&'v String> {
    a.keys().chain(b.keys()).collect()
}

/// The name of a part for people.
fn part(key: &str, name: &str) -> String {
    match (key, name) {
        ("table", _) => "partition table".to_owned(),
        ("partitions", name) => format!("partition {name}"),
        ("esp", name) => format!("file {name}"),
        ("programs", name) => format!("program {name}"),
        ("volumes", name) => format!("volume {name}"),
        (key, "") => key.replace('_', " "),
        (key, name) => format!("{key} {name}"),
    }
}

impl Comparison {
    /// The parts that are the same, one line per kind.
    fn same_by_kind(&self) -> Vec<String> {
        let mut kinds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for part in &self.same {
            let (kind, name) = part.split_once(' ').unwrap_or((part.as_str(), ""));
            kinds.entry(kind).or_default().push(name);
        }
        kinds
            .into_iter()
            .map(|(kind, names)| format!("{kind} {}", names.join(", ")).trim_end().to_owned())
            .collect()
    }
}

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (part, differences) in &self.differences {
            writeln!(f, "{}", Row(format_args!("{part}")))?;
            for difference in differences {
                writeln!(f, "{}", Row(format_args!("  {difference}")))?;
            }
        }
        if !self.equal && !self.same.is_empty() {
            writeln!(f, "the same in both")?;
        }
        if !self.equal {
            self.same_by_kind()
                .iter()
                .try_for_each(|line| writeln!(f, "{}", Row(format_args!("  {line}"))))?;
        }
        Ok(())
    }
}

impl Display for Difference {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name =
            |name: &str| if name.is_empty() { String::new() } else { format!("{}: ", printable::name(name)) };
        let field = name(self.path.as_deref().unwrap_or_default()) + &name(&self.field);
        match (&self.a, &self.b) {
            (Value::Null, b) if self.field == "content" && self.path.is_none() => {
                write!(f, "{field}{}", shown(b))
            }
            (Value::Null, b) => write!(f, "{field}only in the second: {}", shown(b)),
            (a, Value::Null) => write!(f, "{field}only in the first: {}", shown(a)),
            (Value::String(a), Value::String(b)) if a.contains(' ') && b.contains(' ') => {
                let (a, b): (Vec<&str>, Vec<&str>) =
                    (a.split_whitespace().collect(), b.split_whitespace().collect());
                let removed = a.iter().filter(|word| !b.contains(word)).map(|word| format!("-{word}"));
                let new = b.iter().filter(|word| !a.contains(word)).map(|word| format!("+{word}"));
                let words: Vec<String> = removed.chain(new).collect();
                let words = if words.is_empty() {
                    "the same words in a different order".to_owned()
                } else {
                    words.join(" ")
                };
                write!(f, "{field}{}", printable::name(&words))
            }
            (a, b) => write!(f, "{field}{} -> {}", shown(a), shown(b)),
        }
    }
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A value on one line; for large values, only their size.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if is_digest(text) => format!("{}…", text.get(..16).unwrap_or(text)),
        Value::String(text) => printable::name(text).into_owned(),
        Value::Array(list) => format!("{} entries", list.len()),
        Value::Object(map) => {
            let brief = ["sha256", "bytes", "uuid", "kind", "mode", "content"];
            let fields: Vec<String> =
                brief.iter().filter_map(|key| Some(format!("{key} {}", shown(map.get(*key)?)))).collect();
            if fields.is_empty() { format!("{} fields", map.len()) } else { fields.join(", ") }
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn compared(a: &Value, b: &Value) -> Comparison {
        let mut found = Found::default();
        if let (Value::Object(a), Value::Object(b)) = (a, b) {
            found.parts(a, b);
        }
        let same = found.seen.into_iter().filter(|part| !found.differences.contains_key(part)).collect();
        let equal = found.differences.is_empty();
        Comparison { version: 1, a: "a".into(), b: "b".into(), equal, differences: found.differences, same }
    }

    #[test]
    fn lists_are_matched_by_name_so_that_an_addition_is_one_difference() {
        let a = json!({"esp": [{"path": "b", "sha256": "1"}, {"path": "c", "sha256": "2"}], "cd": true});
        let b = json!({"esp": [{"path": "a", "sha256": "0"}, {"path": "b", "sha256": "1"}, {"path": "c", "sha256": "3"}], "cd": true});
        let found = compared(&a, &b);
        assert_eq!(
            found.to_string(),
            "file a\n  only in the second: sha256 0\nfile c\n  sha256: 2 -> 3\nthe same in both\n  cd\n  file b\n"
        );
        assert!(compared(&a, &a).equal);
    }

    #[test]
    fn fields_are_shown_with_their_path_and_command_lines_are_compared_by_words() {
        let a = json!({"programs": [{"path": "u", "uki": {"boot": {"root": {"root_hash": "1"}}, "cmdline": "quiet audit=1"}}]});
        let b = json!({"programs": [{"path": "u", "uki": {"boot": {"root": {"root_hash": "2"}}, "cmdline": "debug audit=1"}}]});
        assert_eq!(
            compared(&a, &b).to_string(),
            "program u\n  uki.boot.root.root_hash: 1 -> 2\n  uki.cmdline: -quiet +debug\n"
        );
    }

    #[test]
    fn files_of_volumes_differ_path_by_path() {
        let tree = |value: Value| value.as_object().unwrap().clone();
        let a = tree(json!({
            "same": {"kind": "file", "mode": "0644", "content": "1"},
            "gone": {"kind": "file", "mode": "0644", "bytes": 3, "content": "2"},
            "usr/bin/a.b": {"kind": "file", "mode": "0755", "uid": 0, "content": "3", "xattrs": {"security.capability": "01"}},
            "lib": {"kind": "link", "content": "usr/lib"},
        }));
        let b = tree(json!({
            "same": {"kind": "file", "mode": "0644", "content": "1"},
            "new": {"kind": "directory", "mode": "0755", "bytes": 0, "content": ""},
            "usr/bin/a.b": {"kind": "file", "mode": "4755", "uid": 7, "content": "3", "xattrs": {}},
            "lib": {"kind": "link", "content": "usr/lib64"},
        }));
        let mut found = Found::default();
        found.files("root", &a, &b);
        let shown_lines: Vec<String> =
            found.differences["files of root"].iter().map(|found| found.to_string()).collect();
        assert_eq!(
            shown_lines,
            [
                "gone: only in the first: bytes 3, kind file, mode 0644, content 2",
                "lib: content: usr/lib -> usr/lib64",
                "new: only in the second: bytes 0, kind directory, mode 0755, content ",
                "usr/bin/a.b: mode: 0755 -> 4755",
                "usr/bin/a.b: uid: 0 -> 7",
                "usr/bin/a.b: xattrs.security.capability: only in the first: 01",
            ]
        );
        let document = serde_json::to_value(&found.differences["files of root"][3]).unwrap();
        assert_eq!(document, json!({"path": "usr/bin/a.b", "field": "mode", "a": "0755", "b": "4755"}));
    }

    #[test]
    fn elements_with_the_same_name_do_not_hide_each_other() {
        let a = json!({"list": [{"name": "x", "v": 1}, {"name": "x", "v": 2}]});
        let b = json!({"list": [{"name": "x", "v": 3}, {"name": "x", "v": 2}]});
        assert!(!compared(&a, &b).equal);
    }

    #[test]
    fn text_of_a_file_cannot_control_the_terminal() {
        let found = compared(&json!({"a": "x\u{1b}[2J", "\u{1b}": 1}), &json!({"a": "y"}));
        assert!(!found.to_string().contains('\u{1b}'));
    }
}
