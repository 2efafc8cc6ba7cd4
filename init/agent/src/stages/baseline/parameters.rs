//! Parses the file of kernel parameters: lines `name = value` of sysctl.d(5), comments, and `-` before a parameter that
//! is optional. Patterns are rejected: a parameter can be checked only by its full name.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// One kernel parameter and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// The name, with dots.
    pub name: String,
    /// The value, with single spaces.
    pub value: String,
    /// The kernel need not have the parameter.
    pub optional: bool,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ParametersError {
    /// The file cannot be read.
    #[error("failed to read {0}")]
    Read(PathBuf, #[source] io::Error),
    /// A line does not assign a value to a parameter with a full name.
    #[error("{path} line {line}: `{text}` is not `name = value` with a full name")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line number, from 1.
        line: usize,
        /// The line.
        text: String,
    },
}

impl Parameter {
    /// The parameter's file under `/proc/sys`.
    pub fn path(&self, root: &Path) -> PathBuf {
        path(root, &self.name)
    }
}

/// The file of a parameter.
pub fn path(root: &Path, name: &str) -> PathBuf {
    root.join(name.replace('.', "/"))
}

/// The value with single spaces instead of the kernel's tabs, and without the line end.
pub fn normal(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Reads and parses the file.
pub fn read(file: &Path) -> Result<Vec<Parameter>, ParametersError> {
    let text = fs::read_to_string(file).map_err(|error| ParametersError::Read(file.to_owned(), error))?;
    let mut parameters = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.trim();
        if text.is_empty() || text.starts_with(['#', ';']) {
            continue;
        }
        let bad = || ParametersError::Line { path: file.to_owned(), line, text: text.to_owned() };
        parameters.push(parse(text).ok_or_else(bad)?);
    }
    Ok(parameters)
}

fn parse(line: &str) -> Option<Parameter> {
    let (name, value) = line.split_once('=')?;
    let name = name.trim();
    let (name, optional) = name.strip_prefix('-').map_or((name, false), |name| (name.trim(), true));
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    let value = normal(value);
    let good = name.chars().all(allowed) && name.contains('.') && !name.contains("..") && !value.is_empty();
    good.then(|| Parameter { name: name.to_owned(), value, optional })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_parsed_and_patterns_and_path_traversal_are_refused() {
        let parameter = parse("-net.ipv4.tcp_rmem = 4096\t 1").unwrap();
        assert_eq!(
            (parameter.name.as_str(), parameter.value.as_str(), parameter.optional),
            ("net.ipv4.tcp_rmem", "4096 1", true)
        );
        assert_eq!(
            path(Path::new("/proc/sys"), "kernel.kptr_restrict"),
            Path::new("/proc/sys/kernel/kptr_restrict")
        );
        for bad in [
            "net.ipv4.conf.*.rp_filter = 1",
            "kernel/x = 1",
            "kernel..x = 1",
            "kernel.x",
            "x = 1",
            "kernel.x =",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
