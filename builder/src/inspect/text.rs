//! Formats the document for people. Digests of single files are cut to 16 digits; the JSON contains them completely.
//!
//! Names and texts come from an untrusted file. Rows are written by `row!` only, which keeps each one on a single printable line, and
//! names by `printable::name`, which keeps them from imitating an escape sequence.

use std::fmt::{self, Display, Formatter};

use kubedos_wire::printable::{self, Row};

use super::report::{
    BootReport, Content, DiskReport, EntryReport, NodeReport, ProgramReport, Report, SeedReport,
    SignatureReport, SignerReport, StatementReport, TreeReport, UkiReport,
};
use crate::artifact::Wrapper;
use crate::image::manifest::Manifest;
use crate::size::human;
use kubedos_debian::release::date::Moment;

/// The maximum width of a line in characters.
const WIDTH: usize = 100;
/// The indentation of continuation lines.
const INDENT: usize = 14;

/// Writes a row with everything formatted into it.
macro_rules! row {
    ($f:expr, $($text:tt)*) => {
        wrapped($f, &Row(format_args!($($text)*)).to_string())
    };
}

/// Writes an empty row and a row.
macro_rules! heading {
    ($f:expr, $($text:tt)*) => {
        writeln!($f).and_then(|()| row!($f, $($text)*))
    };
}

/// Writes a row on as many lines as it needs, broken after a space or a slash if possible.
fn wrapped(f: &mut Formatter<'_>, row: &str) -> fmt::Result {
    let mut rest = row.trim_end();
    let mut indent = 0;
    while let Some((most, _)) = rest.char_indices().nth(WIDTH - indent) {
        let (fits, _) = rest.split_at(most);
        // Do not break in the first half of the line, where the columns consist mostly of spaces.
        let end = fits.rfind([' ', '/']).map(|at| at + 1).filter(|end| end * 2 > most).unwrap_or(most);
        let (line, next) = rest.split_at(end);
        writeln!(f, "{:indent$}{}", "", line.trim_end())?;
        rest = next.trim_start();
        indent = INDENT;
    }
    writeln!(f, "{:indent$}{rest}", "")
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = self.file.display();
        let size = human(self.bytes);
        match &self.content {
            Content::Disk(report) => {
                let wrapper = match report.wrapper {
                    Wrapper::Raw => "raw",
                    Wrapper::Qcow2 => "qcow2",
                };
                let cd = if report.cd { ", also a CD" } else { "" };
                row!(f, "{name}: disk image ({wrapper}{cd}), {size}")?;
                disk(f, report)?;
            }
            Content::Program(report) => {
                let kind = if report.uki.is_some() { "unified kernel image" } else { "EFI program" };
                row!(f, "{name}: {kind}, {size}")?;
                program(f, report)?;
            }
            Content::Seed { seed: report } => {
                row!(f, "{name}: seed volume, {size}; its secrets are not shown")?;
                report.iter().try_for_each(|report| seed(f, report))?;
            }
            Content::Statement { statement: report } => {
                row!(f, "{name}: statement of a configuration, {size}")?;
                report.iter().try_for_each(|report| statement(f, report))?;
            }
            Content::Manifest { manifest: report } => {
                row!(f, "{name}: manifest, {size}")?;
                manifest(f, report)?;
            }
        }
        if !self.problems.is_empty() {
            heading!(f, "cannot be read")?;
        }
        self.problems
            .iter()
            .try_for_each(|problem| row!(f, "  {}: {}", printable::name(&problem.part), problem.error))
    }
}

/// Writes a line of a block: a word of at most ten letters and its value.
fn line(f: &mut Formatter<'_>, word: &str, value: impl Display) -> fmt::Result {
    row!(f, "  {word:<12}{value}")
}

fn disk(f: &mut Formatter<'_>, report: &DiskReport) -> fmt::Result {
    let table = &report.table;
    if report.wrapper != Wrapper::Raw {
        line(f, "disk", human(report.disk_bytes))?;
    }
    line(f, "disk GUID", table.disk_guid)?;
    let other = match table.other.as_str() {
        "same" => "both copies are the same".to_owned(),
        "differs" => "the two copies DIFFER".to_owned(),
        error => format!("the {} copy is shown; the other one: {}", table.copy, printable::name(error)),
    };
    let mbr = if table.protective_mbr { "" } else { "; there is no protective MBR" };
    line(f, "layout", format_args!("{}; {other}{mbr}", table.layout))?;

    let width =
        report.partitions.iter().map(|p| printable::name(&p.name).chars().count()).max().unwrap_or(0).max(9);
    heading!(f, "   # {:<width$}  {:>10}  {:>10}  {:>10}  uuid", "partition", "start", "size", "used")?;
    for partition in &report.partitions {
        let used = partition.used.map_or("?".to_owned(), |used| match used {
            0 => "-".to_owned(),
            used => human(used),
        });
        row!(
            f,
            "  {:>2} {:<width$}  {:>10}  {:>10}  {used:>10}  {}",
            partition.number,
            printable::name(&partition.name),
            human(partition.start),
            human(partition.bytes),
            partition.uuid
        )?;
    }
    if !report.esp.is_empty() {
        heading!(f, "EFI system partition")?;
    }
    let width = report.esp.iter().map(|file| file.path.chars().count()).max().unwrap_or(0);
    for file in &report.esp {
        row!(f, "  {:<width$}  {:>10}  {}", file.path, human(file.bytes), short(&file.sha256))?;
    }
    for report in &report.programs {
        let kind = if report.uki.is_some() { ": unified kernel image" } else { "" };
        heading!(f, "{}{kind}", report.path)?;
        program(f, report)?;
    }
    if !report.volumes.is_empty() {
        heading!(f, "volumes")?;
    }
    for volume in &report.volumes {
        let missing = if volume.present { "" } else { "; NO PARTITIONS with that UUID" };
        row!(f, "  {:<14}{}, {}{missing}", volume.name, volume.seal.root_hash, human(volume.bytes))?;
        if let Some(tree) = &volume.tree {
            row!(f, "{:16}{}", "", Counts(tree))?;
        }
    }
    for volume in &report.volumes {
        if let Some(entries) = volume.tree.as_ref().and_then(|tree| tree.entries.as_ref()) {
            heading!(f, "files of {}", volume.name)?;
            entries.iter().try_for_each(|entry| node(f, entry))?;
        }
    }
    if let Some(report) = &report.configuration {
        heading!(f, "configuration")?;
        statement(f, report)?;
    }
    match &report.seed {
        Some(report) => {
            heading!(f, "seed: this image is PERSONALISED, it contains the secrets of a node")?;
            seed(f, report)
        }
        None => Ok(()),
    }
}

fn program(f: &mut Formatter<'_>, report: &ProgramReport) -> fmt::Result {
    if let Some(report) = &report.uki {
        uki(f, report)?;
    }
    line(f, "signed", Signature(report.signature.as_ref()))?;
    if !report.authenticode.is_empty() {
        line(f, "digest", format_args!("{} (Authenticode)", report.authenticode))?;
    }
    let sections: Vec<String> =
        report.sections.iter().map(|section| format!("{} {}", section.name, human(section.bytes))).collect();
    line(f, "sections", sections.join(", "))?;
    match &report.uki {
        Some(report) => initrd(f, &report.initrd),
        None => Ok(()),
    }
}

fn uki(f: &mut Formatter<'_>, report: &UkiReport) -> fmt::Result {
    line(f, "kernel", printable::name(&report.kernel))?;
    line(f, "cmdline", printable::name(&report.cmdline))?;
    let name = report.os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    line(f, "system", printable::name(name.unwrap_or("(no PRETTY_NAME)").trim_matches('"')))?;
    boot(f, &report.boot)
}

fn boot(f: &mut Formatter<'_>, report: &BootReport) -> fmt::Result {
    let moment = Moment::from_unix(report.epoch);
    line(f, "release", format_args!("{}, packages of {moment}", report.release))?;
    if report.additions {
        line(f, "additions", "YES: the root volume contains files of a test, this is NOT A PRODUCT")?;
    }
    line(f, "root", report.root.root_hash)?;
    line(f, "", &report.root_table)?;
    line(f, "payload", report.payload.root_hash)?;
    line(f, "", &report.payload_table)?;
    line(f, "identity", report.identity)?;
    report
        .configuration_keys
        .iter()
        .try_for_each(|key| line(f, "accepts", format_args!("configurations of {}", Signer(key))))
}

fn initrd(f: &mut Formatter<'_>, entries: &[EntryReport]) -> fmt::Result {
    let bytes: u64 = entries.iter().map(|entry| entry.bytes).sum();
    line(f, "initrd", format_args!("{} entries, {}", entries.len(), human(bytes)))?;
    for entry in entries {
        let path = printable::name(&entry.path);
        match entry.kind {
            "file" => {
                let content = short(&entry.content);
                row!(f, "    {} {:>10}  {content}  {path}", entry.mode, human(entry.bytes))?;
            }
            "link" => row!(
                f,
                "    {} {:>10}  {:16}  {path} -> {}",
                entry.mode,
                "link",
                "",
                printable::name(&entry.content)
            )?,
            kind => row!(f, "    {} {kind:>10}  {:16}  {path}", entry.mode, entry.content)?,
        }
    }
    Ok(())
}

/// Writes a path of a volume: permissions, owner, size, content and path.
fn node(f: &mut Formatter<'_>, node: &NodeReport) -> fmt::Result {
    row!(f, "{}", Node(node))
}

struct Node<'a>(&'a NodeReport);

impl Display for Node<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let node = self.0;
        let owner = format!("{}:{}", node.uid, node.gid);
        let (size, content) = match node.kind {
            "file" => (human(node.bytes), short(&node.content)),
            "character device" | "block device" => (node.kind.replace(" device", ""), node.content.as_str()),
            kind => (kind.to_owned(), ""),
        };
        write!(f, "  {} {owner:>9} {size:>10}  {content:16}  {}", node.mode, printable::name(&node.path))?;
        if node.kind == "link" {
            write!(f, " -> {}", printable::name(&node.content))?;
        }
        if let Some(first) = &node.same_as {
            write!(f, " = {}", printable::name(first))?;
        }
        for (name, value) in &node.xattrs {
            write!(f, "  {}={value}", printable::name(name))?;
        }
        Ok(())
    }
}

/// The number of files in a volume as a phrase.
struct Counts<'a>(&'a TreeReport);

impl Display for Counts<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let tree = self.0;
        write!(f, "{} of content in {}", human(tree.content_bytes), number(tree.files, "file"))?;
        for (count, what) in
            [(tree.hard_links, "hard link"), (tree.symlinks, "symbolic link"), (tree.special, "special file")]
        {
            if count > 0 {
                write!(f, ", {}", number(count, what))?;
            }
        }
        let directories = if tree.directories == 1 { "directory" } else { "directories" };
        write!(f, ", {} {directories}", tree.directories)
    }
}

fn number(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn statement(f: &mut Formatter<'_>, report: &StatementReport) -> fmt::Result {
    line(f, "cluster", format_args!("{}, generation {}", report.cluster, report.generation))?;
    line(f, "cluster id", report.cluster_id)?;
    for signer in &report.signers {
        line(f, "signed", format_args!("by {}", Signer(signer)))?;
    }
    if let Some(refusal) = &report.refusal {
        line(f, "", format_args!("NOT ACCEPTED by this image: {}", refusal))?;
    }
    if let Some(release) = &report.minimum_release {
        line(f, "needs", format_args!("release {release} or newer"))?;
    }
    line(f, "volume", format_args!("{}, {}", report.volume.root_hash, human(report.volume.data_bytes())))
}

fn seed(f: &mut Formatter<'_>, report: &SeedReport) -> fmt::Result {
    line(f, "node", format_args!("{}, incarnation {}", report.node, report.incarnation))?;
    line(f, "cluster", &report.cluster)?;
    line(f, "cluster id", report.cluster_id)?;
    match (report.generation_floor, &report.minimum_release) {
        (Some(generation), Some(release)) => {
            line(f, "floors", format_args!("generation {generation}, release {release}"))?;
        }
        _ => line(f, "floors", "none: a seed of version 1")?,
    }
    line(f, "voucher", if report.voucher { "yes" } else { "no" })?;
    report.signers.iter().try_for_each(|signer| line(f, "signed", format_args!("by {}", Signer(signer))))
}

fn manifest(f: &mut Formatter<'_>, manifest: &Manifest) -> fmt::Result {
    let Manifest { cluster, artifact_version, generation, release, .. } = manifest;
    line(
        f,
        "cluster",
        format_args!(
            "{} {}, generation {generation}",
            printable::name(cluster),
            printable::name(artifact_version)
        ),
    )?;
    line(
        f,
        "release",
        format_args!("{}, packages of {}", printable::name(release), Moment::from_unix(manifest.epoch)),
    )?;
    line(f, "lock", printable::name(&manifest.lock_sha256))?;
    if manifest.demo_keys {
        line(f, "keys", "the published demo keys, which do not protect the image")?;
    }
    heading!(f, "volumes")?;
    for volume in &manifest.volumes {
        let bytes = human(volume.seal.data_bytes());
        row!(f, "  {:<14}{}, {bytes}", printable::name(&volume.name), volume.seal.root_hash)?;
    }
    heading!(f, "outputs")?;
    let width = manifest
        .outputs
        .iter()
        .map(|output| printable::name(&output.name).chars().count())
        .max()
        .unwrap_or(0);
    for output in &manifest.outputs {
        let name = printable::name(&output.name);
        row!(f, "  {name:<width$}  {:>10}  {}", human(output.size), short(&printable::name(&output.sha256)))?;
    }
    Ok(())
}

/// A key as a phrase.
struct Signer<'a>(&'a SignerReport);

impl Display for Signer<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let demo = if self.0.demo { " (a published DEMO key: anybody can sign with it)" } else { "" };
        write!(f, "key {}{demo}", self.0.id)
    }
}

/// The signature of a program as a phrase.
struct Signature<'a>(Option<&'a SignatureReport>);

impl Display for Signature<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(signature) = self.0 else { return f.write_str("no") };
        let name = signature.signer.as_deref().map_or("an unknown signer".into(), printable::name);
        let certificate = signature.certificate.as_deref().map_or("not included", short);
        let validity = if signature.holds { "" } else { "; it is NOT VALID" };
        write!(f, "by {name} (certificate {certificate}){validity}")
    }
}

fn short(digest: &str) -> &str {
    digest.get(..16).unwrap_or(digest)
}
