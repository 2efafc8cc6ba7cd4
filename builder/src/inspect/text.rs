//! The document as text for people. Digests of single files are cut to sixteen digits: the whole ones are in the JSON. Names and texts
//! come from a file of unknown origin: control characters are shown, not sent to the terminal.

use std::fmt::{self, Display, Formatter};

use super::report::{
    BootReport, Content, DiskReport, EntryReport, NodeReport, ProgramReport, Report, SeedReport,
    SignatureReport, SignerReport, StatementReport, TreeReport, UkiReport,
};
use crate::artifact::Wrapper;
use crate::image::manifest::Manifest;
use crate::release::date::Moment;
use crate::size::human;

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
                writeln!(f, "{name}: disk image ({wrapper}{cd}), {size}")?;
                disk(f, report)?;
            }
            Content::Program(report) => {
                let kind = if report.uki.is_some() { "unified kernel image" } else { "EFI program" };
                writeln!(f, "{name}: {kind}, {size}")?;
                program(f, report)?;
            }
            Content::Seed { seed: report } => {
                writeln!(f, "{name}: seed volume, {size}; its secrets are not shown")?;
                report.iter().try_for_each(|report| seed(f, report))?;
            }
            Content::Statement { statement: report } => {
                writeln!(f, "{name}: statement over a configuration, {size}")?;
                report.iter().try_for_each(|report| statement(f, report))?;
            }
            Content::Manifest { manifest: report } => {
                writeln!(f, "{name}: manifest, {size}")?;
                manifest(f, report)?;
            }
        }
        if !self.problems.is_empty() {
            writeln!(f, "\ncannot be read")?;
        }
        self.problems
            .iter()
            .try_for_each(|problem| writeln!(f, "  {}: {}", plain(&problem.part), problem.error))
    }
}

/// A text without control characters.
fn plain(text: &str) -> String {
    let shown = |letter: char| {
        if letter.is_control() { letter.escape_default().collect() } else { letter.to_string() }
    };
    text.chars().map(shown).collect()
}

/// One line of a block: a word of at most ten letters, then what it says.
fn line(f: &mut Formatter<'_>, word: &str, says: impl Display) -> fmt::Result {
    writeln!(f, "  {word:<12}{says}")
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
        error => format!("shown is the {} copy; of the other: {}", table.copy, plain(error)),
    };
    let mbr = if table.protective_mbr { "" } else { "; there is no protective MBR" };
    line(f, "layout", format_args!("{}; {other}{mbr}", table.layout))?;

    let width = report.partitions.iter().map(|p| plain(&p.name).len()).max().unwrap_or(0).max(9);
    writeln!(f, "\n   # {:<width$}  {:>10}  {:>10}  {:>10}  uuid", "partition", "start", "size", "used")?;
    for partition in &report.partitions {
        let used = partition.used.map_or("?".to_owned(), |used| match used {
            0 => "-".to_owned(),
            used => human(used),
        });
        writeln!(
            f,
            "  {:>2} {:<width$}  {:>10}  {:>10}  {used:>10}  {}",
            partition.number,
            plain(&partition.name),
            human(partition.start),
            human(partition.bytes),
            partition.uuid
        )?;
    }
    if !report.esp.is_empty() {
        writeln!(f, "\nEFI system partition")?;
    }
    let width = report.esp.iter().map(|file| file.path.len()).max().unwrap_or(0);
    for file in &report.esp {
        writeln!(f, "  {:<width$}  {:>10}  {}", file.path, human(file.bytes), short(&file.sha256))?;
    }
    for report in &report.programs {
        let kind = if report.uki.is_some() { ": unified kernel image" } else { "" };
        writeln!(f, "\n{}{kind}", report.path)?;
        program(f, report)?;
    }
    if !report.volumes.is_empty() {
        writeln!(f, "\nvolumes")?;
    }
    for volume in &report.volumes {
        let missing = if volume.present { "" } else { "; NO PARTITIONS of that UUID" };
        writeln!(f, "  {:<14}{}, {}{missing}", volume.name, volume.seal.root_hash, human(volume.bytes))?;
        if let Some(tree) = &volume.tree {
            writeln!(f, "{:16}{}", "", Counts(tree))?;
        }
    }
    for volume in &report.volumes {
        if let Some(entries) = volume.tree.as_ref().and_then(|tree| tree.entries.as_ref()) {
            writeln!(f, "\nfiles of {}", volume.name)?;
            entries.iter().try_for_each(|entry| node(f, entry))?;
        }
    }
    if let Some(report) = &report.configuration {
        writeln!(f, "\nconfiguration")?;
        statement(f, report)?;
    }
    match &report.seed {
        Some(report) => {
            writeln!(f, "\nseed: this image is PERSONALISED, it holds the secrets of a node")?;
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
    line(f, "kernel", plain(&report.kernel))?;
    line(f, "cmdline", plain(&report.cmdline))?;
    let name = report.os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    line(f, "system", plain(name.unwrap_or("(no PRETTY_NAME)").trim_matches('"')))?;
    boot(f, &report.boot)
}

fn boot(f: &mut Formatter<'_>, report: &BootReport) -> fmt::Result {
    let moment = Moment::from_unix(report.epoch);
    line(f, "release", format_args!("{}, packages of {moment}", report.release))?;
    if report.additions {
        line(f, "additions", "YES: the root volume holds those of a test, this is NO PRODUCT")?;
    }
    line(f, "root", format_args!("{}\n{:14}{}", report.root.root_hash, "", report.root_table))?;
    line(f, "payload", format_args!("{}\n{:14}{}", report.payload.root_hash, "", report.payload_table))?;
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
        let path = plain(&entry.path);
        match entry.kind {
            "file" => {
                let content = short(&entry.content);
                writeln!(f, "    {} {:>10}  {content}  {path}", entry.mode, human(entry.bytes))?;
            }
            "link" => writeln!(
                f,
                "    {} {:>10}  {:16}  {path} -> {}",
                entry.mode,
                "link",
                "",
                plain(&entry.content)
            )?,
            kind => writeln!(f, "    {} {kind:>10}  {:16}  {path}", entry.mode, entry.content)?,
        }
    }
    Ok(())
}

/// A path of a volume: permissions, owner, size, what is in it, and where.
fn node(f: &mut Formatter<'_>, node: &NodeReport) -> fmt::Result {
    let owner = format!("{}:{}", node.uid, node.gid);
    let (size, content) = match node.kind {
        "file" => (human(node.bytes), short(&node.content)),
        "character device" | "block device" => (node.kind.replace(" device", ""), node.content.as_str()),
        kind => (kind.to_owned(), ""),
    };
    write!(f, "  {} {owner:>9} {size:>10}  {content:16}  {}", node.mode, plain(&node.path))?;
    if node.kind == "link" {
        write!(f, " -> {}", plain(&node.content))?;
    }
    if let Some(first) = &node.same_as {
        write!(f, " = {}", plain(first))?;
    }
    for (name, value) in &node.xattrs {
        write!(f, "  {}={value}", plain(name))?;
    }
    writeln!(f)
}

/// What is in a volume, in a phrase.
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
        line(f, "", format_args!("NOT ACCEPTED by this image: {}", plain(refusal)))?;
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
        format_args!("{} {}, generation {generation}", plain(cluster), plain(artifact_version)),
    )?;
    line(
        f,
        "release",
        format_args!("{}, packages of {}", plain(release), Moment::from_unix(manifest.epoch)),
    )?;
    line(f, "lock", plain(&manifest.lock_sha256))?;
    if manifest.demo_keys {
        line(f, "keys", "the published demo keys: it protects nothing")?;
    }
    writeln!(f, "\nvolumes")?;
    for volume in &manifest.volumes {
        let bytes = human(volume.seal.data_bytes());
        writeln!(f, "  {:<14}{}, {bytes}", plain(&volume.name), volume.seal.root_hash)?;
    }
    writeln!(f, "\noutputs")?;
    let width = manifest.outputs.iter().map(|output| plain(&output.name).len()).max().unwrap_or(0);
    for output in &manifest.outputs {
        let name = plain(&output.name);
        writeln!(f, "  {name:<width$}  {:>10}  {}", human(output.size), short(&plain(&output.sha256)))?;
    }
    Ok(())
}

/// A key in a sentence.
struct Signer<'a>(&'a SignerReport);

impl Display for Signer<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let demo = if self.0.demo { " (a DEMO key: it protects nothing)" } else { "" };
        write!(f, "key {}{demo}", self.0.id)
    }
}

/// A program's signature in a sentence.
struct Signature<'a>(Option<&'a SignatureReport>);

impl Display for Signature<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(signature) = self.0 else { return f.write_str("no") };
        let name = signature.signer.as_deref().map_or("an unknown signer".to_owned(), plain);
        let certificate = signature.certificate.as_deref().map_or("not included", short);
        let holds = if signature.holds { "" } else { "; it DOES NOT HOLD" };
        write!(f, "by {name} (certificate {certificate}){holds}")
    }
}

fn short(digest: &str) -> &str {
    digest.get(..16).unwrap_or(digest)
}
