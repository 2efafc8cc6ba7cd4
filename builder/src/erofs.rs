//! EROFS through the lock's mkfs.erofs: the tree goes in as a tar stream, nothing of it touches the host's file system.
//!
//! The output depends on the tree and the parameters only: members in sorted order, one time for every inode (`-T`), the
//! volume's UUID given, one worker less or more changes nothing (measured for 1.8.6). The root directory's mode is the one thing
//! that it takes from the umask and not from the stream, so it runs with a usual one. The tool's version is part of the lock, since
//! another version may lay out the same tree differently.

use std::ffi::OsString;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};
use rustix::fs::Mode;

use crate::compose::tree::{Kind, Node, Tree};
use crate::interrupt::Program;

/// How file data is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// lz4hc of a level: fastest to read.
    Lz4hc(u8),
    /// zstd of a level.
    Zstd(u8),
}

/// What an EROFS is made with, beside its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErofsParams {
    /// Volume UUID.
    pub uuid: [u8; 16],
    /// Time of the superblock and of every inode, seconds since 1970.
    pub epoch: u64,
    /// Compression.
    pub compression: Compression,
    /// Largest compressed cluster in bytes, a multiple of 4096. Above 64 KiB random reads suffer.
    pub cluster: u32,
}

impl ErofsParams {
    /// What volumes are made with: lz4hc in clusters of 64 KiB, which reads fastest (ADR 0033).
    pub const fn new(uuid: [u8; 16], epoch: u64) -> Self {
        Self { uuid, epoch, compression: Compression::Lz4hc(9), cluster: 65536 }
    }
}

/// The mkfs.erofs to run: a program and its leading arguments (a loader and its library path, say).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MkfsErofs {
    command: Vec<OsString>,
}

impl MkfsErofs {
    /// A program with the arguments that come before its own.
    pub fn new(program: impl Into<OsString>, leading: impl IntoIterator<Item = OsString>) -> Self {
        let mut command = vec![program.into()];
        command.extend(leading);
        Self { command }
    }
}

/// Why no EROFS was written.
#[derive(Debug, thiserror::Error)]
pub enum ErofsError {
    /// The tool cannot be started.
    #[error("failed to start mkfs.erofs ({program:?})")]
    Start {
        /// What was to be started.
        program: OsString,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Sending the tree failed for a reason of its own.
    #[error("failed to send the tree to mkfs.erofs")]
    Send(#[source] io::Error),
    /// The tool failed.
    #[error("mkfs.erofs ended with {status}: {said}")]
    Tool {
        /// Its exit status.
        status: std::process::ExitStatus,
        /// What it said.
        said: String,
    },
}

/// Writes the tree as an EROFS to `out`, which is replaced.
pub fn write(tree: &Tree, params: &ErofsParams, tool: &MkfsErofs, out: &Path) -> Result<(), ErofsError> {
    let (program, leading) = match tool.command.split_first() {
        Some((program, leading)) => (program.clone(), leading),
        None => (OsString::from("mkfs.erofs"), [].as_slice()),
    };
    let mut command = Command::new(&program);
    command.args(leading).args(arguments(params)).arg(out);
    // Nothing of the caller's environment may reach the bytes.
    command.env_clear().env("LC_ALL", "C").env("TZ", "UTC");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut tool = with_usual_umask(|| Program::start(&mut command))
        .map_err(|source| ErofsError::Start { program, source })?;
    let (stdin, stderr) = (tool.child.stdin.take(), tool.child.stderr.take());
    let (sent, said) = std::thread::scope(|scope| {
        let said = scope.spawn(move || {
            let mut said = String::new();
            match stderr.map(|mut pipe| pipe.read_to_string(&mut said)) {
                Some(Err(error)) => format!("its messages cannot be read: {error}"),
                _ => said,
            }
        });
        let sent = stdin.map_or(Ok(()), |pipe| send(tree, pipe));
        (sent, said.join().unwrap_or_default())
    });
    let status = tool.wait().map_err(ErofsError::Send)?;
    if !status.success() {
        let said = said.lines().rev().take(6).collect::<Vec<_>>();
        let said = said.into_iter().rev().collect::<Vec<_>>().join("; ");
        return Err(ErofsError::Tool { status, said });
    }
    sent.map_err(ErofsError::Send)
}

/// Starts a program in a thread that has a umask of its own: 022, which [`Tree::new`]'s root has too.
fn with_usual_umask(start: impl FnOnce() -> io::Result<Program> + Send) -> io::Result<Program> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_FS)?;
            rustix::process::umask(Mode::from_raw_mode(0o022));
            start()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn arguments(params: &ErofsParams) -> Vec<OsString> {
    let mut list = vec![
        OsString::from("--quiet"),
        "-d1".into(),
        "--tar=f".into(),
        format!("-T{}", params.epoch).into(),
        format!("-U{}", uuid_text(&params.uuid)).into(),
        "-x1".into(),
    ];
    let algorithm = match params.compression {
        Compression::None => return list,
        Compression::Lz4hc(level) => format!("-zlz4hc,level={level}"),
        Compression::Zstd(level) => format!("-zzstd,level={level}"),
    };
    list.push(algorithm.into());
    list.push(format!("-C{}", params.cluster).into());
    list.push("-Efragments,ztailpacking".into());
    list
}

fn uuid_text(uuid: &[u8; 16]) -> String {
    let hex = hex::encode(uuid);
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-")
}

/// Extended attributes travel as PAX records of this prefix (star's, which GNU tar and mkfs.erofs share).
const PAX_XATTR: &str = "SCHILY.xattr.";

/// The tree as a tar stream in path order.
fn send(tree: &Tree, pipe: impl Write) -> io::Result<()> {
    let mut archive = tar::Builder::new(BufWriter::with_capacity(1 << 20, pipe));
    for (path, node) in tree.iter() {
        append(&mut archive, path, node)?;
    }
    archive.into_inner()?.flush()
}

fn append(archive: &mut tar::Builder<impl Write>, path: &str, node: &Node) -> io::Result<()> {
    let xattrs: Vec<(String, &[u8])> =
        node.xattrs.iter().map(|(name, value)| (format!("{}{name}", PAX_XATTR), value.as_slice())).collect();
    if !xattrs.is_empty() {
        archive.append_pax_extensions(xattrs.iter().map(|(name, value)| (name.as_str(), *value)))?;
    }
    let mut header = tar::Header::new_gnu();
    header.set_mode(node.mode);
    header.set_uid(u64::from(node.uid));
    header.set_gid(u64::from(node.gid));
    header.set_mtime(node.mtime);
    header.set_size(0);
    let name = if path.is_empty() { "./" } else { path };
    match &node.kind {
        Kind::Directory => {
            header.set_entry_type(tar::EntryType::Directory);
            archive.append_data(&mut header, name, io::empty())
        }
        Kind::File(content) => {
            header.set_entry_type(tar::EntryType::Regular);
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, name, &**content)
        }
        Kind::Symlink(target) => {
            header.set_entry_type(tar::EntryType::Symlink);
            archive.append_link(&mut header, name, target)
        }
        Kind::Hardlink(target) => {
            header.set_entry_type(tar::EntryType::Link);
            archive.append_link(&mut header, name, target)
        }
        Kind::Device { character, major, minor } => {
            header.set_entry_type(if *character { tar::EntryType::Char } else { tar::EntryType::Block });
            header.set_device_major(*major)?;
            header.set_device_minor(*minor)?;
            archive.append_data(&mut header, name, io::empty())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_stream_keeps_every_attribute_and_the_order() {
        let by: Arc<str> = Arc::from("p");
        let mut tree = Tree::new(50);
        let mut capable = Node::file(vec![7_u8; 5000], &by).with_mode(0o750);
        capable.gid = 33;
        capable.xattrs.insert("security.capability".into(), vec![1, 0, 0, 2, 0]);
        let long = format!("usr/lib/{}/{}", "d".repeat(90), "f".repeat(90));
        tree.add(&long, capable).unwrap();
        tree.add("usr/bin/l", Node::symlink("t".repeat(150), &by)).unwrap();
        let mut sent = Vec::new();
        send(&tree, &mut sent).unwrap();
        let mut seen = Vec::new();
        for entry in tar::Archive::new(sent.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            let link = entry.link_name_bytes().map(|l| l.len());
            let pax = entry.pax_extensions().unwrap().map(|records| {
                records
                    .map(|r| r.unwrap())
                    .map(|r| (r.key().unwrap().to_owned(), r.value_bytes().to_vec()))
                    .collect::<Vec<_>>()
            });
            let header = entry.header();
            let (mode, gid, mtime) = (header.mode().unwrap(), header.gid().unwrap(), header.mtime().unwrap());
            seen.push((path, mode, gid, mtime, entry.size(), link, pax));
        }
        let directories = ["./", "usr", "usr/bin"].map(|p| (p.to_owned(), 0o755, 0, 50, 0, None, None));
        assert_eq!(seen[..3], directories);
        assert_eq!(seen[3], ("usr/bin/l".to_owned(), 0o777, 0, 50, 0, Some(150), None));
        let pax = Some(vec![("SCHILY.xattr.security.capability".to_owned(), vec![1, 0, 0, 2, 0])]);
        assert_eq!(seen[6], (long, 0o750, 33, 50, 5000, None, pax));
        assert_eq!(seen.len(), 7);
    }

    #[test]
    fn a_failing_tool_is_reported_with_its_words() {
        let tool =
            MkfsErofs::new("/bin/sh", ["-c".into(), "cat >/dev/null; echo no room >&2; exit 3".into()]);
        let text = write(&Tree::new(0), &ErofsParams::new([0; 16], 0), &tool, Path::new("x"))
            .unwrap_err()
            .to_string();
        assert!(text.contains("no room") && text.contains('3'), "{text}");
        let missing = MkfsErofs::new("/nonexistent/mkfs.erofs", []);
        let error =
            write(&Tree::new(0), &ErofsParams::new([0; 16], 0), &missing, Path::new("x")).unwrap_err();
        assert!(matches!(error, ErofsError::Start { .. }));
    }

    /// A test's own umask is left alone, whatever it is.
    #[test]
    fn a_program_is_started_with_the_usual_umask_and_this_one_keeps_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let said = folder.path().join("umask");
        let before = own_umask();
        let mut command = Command::new("sh");
        command.args(["-c", "umask > \"$1\"", "sh"]).arg(&said);
        assert!(with_usual_umask(|| Program::start(&mut command)).unwrap().wait().unwrap().success());
        assert_eq!(std::fs::read_to_string(said).unwrap().trim(), "0022");
        assert_eq!(own_umask(), before);
    }

    fn own_umask() -> String {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        status.lines().find(|line| line.starts_with("Umask:")).unwrap().to_owned()
    }

    #[test]
    fn uuids_are_written_in_their_usual_groups() {
        let uuid: [u8; 16] = std::array::from_fn(|i| u8::try_from(i).unwrap());
        assert_eq!(uuid_text(&uuid), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    }
}
