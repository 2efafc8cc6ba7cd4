//! The host's apt configuration, read for base URIs only: `sources.list`, `*.list` (one line each, sources.list(5)) and
//! `*.sources` (deb822). What cannot be read is passed over: apt itself is who complains about it.

use std::path::{Path, PathBuf};

use crate::control::{Paragraph, paragraphs};

/// One URI with the suites that the host takes from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) uri: String,
    pub(super) suites: Vec<String>,
}

/// Every binary source of a host, in the order that apt reads them.
pub(super) fn sources(apt: &Path) -> Vec<Source> {
    let mut files = vec![apt.join("sources.list")];
    let parts = std::fs::read_dir(apt.join("sources.list.d")).into_iter().flatten();
    let mut parts: Vec<PathBuf> = parts.flatten().map(|entry| entry.path()).collect();
    parts.sort();
    files.append(&mut parts);
    let mut found = Vec::new();
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => found.extend(text.lines().filter_map(one_line)),
            Some("sources") => found.extend(paragraphs(&text).flat_map(deb822)),
            _ => {}
        }
    }
    found
}

/// `deb [option=value …] URI suite component…`
fn one_line(line: &str) -> Option<Source> {
    let line = line.split_once('#').map_or(line, |(line, _)| line).trim();
    let rest = line.strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
    let rest = match rest.strip_prefix('[') {
        Some(options) => options.split_once(']')?.1,
        None => rest,
    };
    let mut words = rest.split_ascii_whitespace();
    Some(Source { uri: words.next()?.to_owned(), suites: vec![words.next()?.to_owned()] })
}

fn deb822(stanza: &str) -> Vec<Source> {
    let Ok(paragraph) = Paragraph::parse(stanza) else { return Vec::new() };
    let words = |field| paragraph.get(field).unwrap_or_default().split_ascii_whitespace();
    let is_enabled = !matches!(paragraph.get("Enabled"), Some("no" | "false" | "off" | "0"));
    if !is_enabled || !words("Types").any(|kind| kind == "deb") {
        return Vec::new();
    }
    let suites: Vec<_> = words("Suites").map(str::to_owned).collect();
    words("URIs").map(|uri| Source { uri: uri.to_owned(), suites: suites.clone() }).collect()
}
