//! Parsers for apt's sources (sources.list(5)): the one-line format, deb822 paragraphs, and mirror lists. They are pure and read no file.
//!
//! Every source in a text is returned with its line; a source that cannot serve packages is returned with the reason. Options
//! (`signed-by`, `trusted`, `arch`) are ignored: a mirror is accepted because of its signed index, not because of its configuration.

use crate::control::{Paragraph, paragraphs};

use super::Unfit;

/// A source in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The line, from 1.
    pub line: usize,
    /// The URI, unchanged, or why the source cannot be used.
    pub uri: Result<String, Unfit>,
}

/// Parses a `*.list` file.
pub fn one_line(text: &str) -> Vec<Entry> {
    let numbered = text.lines().enumerate();
    numbered
        .filter_map(|(at, line)| Some(Entry { line: at + 1, uri: source_line(uncommented(line).trim())? }))
        .collect()
}

/// `deb [option=value …] URI suite component…`; `None` for an empty line.
fn source_line(line: &str) -> Option<Result<String, Unfit>> {
    let (kind, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    match kind {
        "" => return None,
        "deb" => {}
        "deb-src" => return Some(Err(Unfit::SourceOnly)),
        _ => return Some(Err(Unfit::Malformed("the line does not begin with deb or deb-src"))),
    }
    let mut rest = rest.trim_start();
    if let Some(options) = rest.strip_prefix('[') {
        let Some(end) = unquoted(options, ']') else {
            return Some(Err(Unfit::Malformed("the options have no closing bracket")));
        };
        rest = options.get(end + 1..).unwrap_or_default();
    }
    let (uri, rest) = word(rest);
    let (suite, _) = word(rest);
    Some(match (uri.as_str(), suite.as_str()) {
        ("", _) => Err(Unfit::Malformed("the line has no URI")),
        (_, "") => Err(Unfit::Malformed("the line has no suite")),
        (_, suite) if suite.ends_with('/') => Err(Unfit::Flat),
        _ => Ok(uri),
    })
}

/// The part of a line before its comment. A `#` inside brackets does not start a comment.
fn uncommented(line: &str) -> &str {
    let mut rest = line;
    loop {
        match rest.find(['#', '[']) {
            None => return line,
            Some(at) => {
                let (_, from) = rest.split_at(at);
                let closing = from.strip_prefix('[').map(|inner| inner.split_once(']'));
                match closing {
                    Some(Some((_, after))) => rest = after,
                    Some(None) => rest = from.get(1..).unwrap_or_default(),
                    None => return line.get(..line.len() - from.len()).unwrap_or_default(),
                }
            }
        }
    }
}

/// The offset of the first `wanted` outside quotation marks.
fn unquoted(text: &str, wanted: char) -> Option<usize> {
    let mut is_quoted = false;
    text.char_indices().find_map(|(at, found)| {
        is_quoted ^= found == '"';
        (!is_quoted && found == wanted).then_some(at)
    })
}

/// Splits off the next word. Spaces inside brackets or quotation marks belong to the word.
fn word(text: &str) -> (String, &str) {
    let text = text.trim_start();
    let (mut is_quoted, mut is_bracketed) = (false, false);
    let end = text.char_indices().find_map(|(at, found)| {
        match found {
            '"' => is_quoted = !is_quoted,
            '[' if !is_quoted => is_bracketed = true,
            ']' if !is_quoted => is_bracketed = false,
            _ => {}
        }
        (!is_quoted && !is_bracketed && found.is_ascii_whitespace()).then_some(at)
    });
    let (word, rest) = text.split_at(end.unwrap_or(text.len()));
    (word.replace('"', ""), rest)
}

/// Parses a `*.sources` file.
pub fn deb822(text: &str) -> Vec<Entry> {
    let lines = Lines::of(text);
    let mut entries = Vec::new();
    for chunk in paragraphs(text) {
        let line = lines.of_part(text, chunk);
        let paragraph = match Paragraph::parse(chunk) {
            Ok(paragraph) if paragraph.fields().is_empty() => continue,
            Ok(paragraph) => paragraph,
            Err(_) => {
                let uri = Err(Unfit::Malformed("the paragraph is not deb822"));
                entries.push(Entry { line, uri });
                continue;
            }
        };
        let words = |field| words(paragraph.get(field).unwrap_or_default());
        let whole = if paragraph.get("Enabled").is_some_and(is_false) {
            Some(Unfit::Disabled)
        } else if words("Types").next().is_none() {
            Some(Unfit::Malformed("the paragraph has no Types"))
        } else if words("URIs").next().is_none() {
            Some(Unfit::Malformed("the paragraph has no URIs"))
        } else if words("Suites").next().is_none() {
            Some(Unfit::Malformed("the paragraph has no Suites"))
        } else if !words("Types").any(|kind| kind == "deb") {
            Some(Unfit::SourceOnly)
        } else if words("Suites").all(|suite| suite.ends_with('/')) {
            Some(Unfit::Flat)
        } else {
            None
        };
        match whole {
            Some(unfit) => entries.push(Entry { line, uri: Err(unfit) }),
            None => entries.extend(
                words("URIs").map(|uri| Entry { line: lines.of_part(text, uri), uri: Ok(uri.to_owned()) }),
            ),
        }
    }
    entries
}

/// The words of a value, which can have several lines with comment lines between them.
fn words(value: &str) -> impl Iterator<Item = &str> {
    value.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_ascii_whitespace)
}

/// Whether apt's `StringToBool` reads the value as false.
fn is_false(value: &str) -> bool {
    ["no", "false", "without", "off", "disable", "0"]
        .iter()
        .any(|word| value.trim().eq_ignore_ascii_case(word))
}

/// Parses a mirror list (apt-transport-mirror(1)) and sorts it by priority.
pub fn mirror_list(text: &str) -> Vec<Entry> {
    let mut entries: Vec<(u32, Entry)> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let Some(uri) = words.next() else { continue };
        let values = |key: &'static str| {
            words.clone().filter_map(move |word| word.strip_prefix(key)?.strip_prefix(':'))
        };
        let is_of_other =
            values("arch").next().is_some() && !values("arch").any(|arch| matches!(arch, "amd64" | "all"));
        // A mirror without a priority comes last.
        let priority = values("priority").find_map(|priority| priority.parse().ok()).unwrap_or(u32::MAX);
        let uri = if is_of_other { Err(Unfit::OtherArchitecture) } else { Ok(uri.to_owned()) };
        entries.push((priority, Entry { line: at + 1, uri }));
    }
    entries.sort_by_key(|(priority, _)| *priority);
    entries.into_iter().map(|(_, entry)| entry).collect()
}

/// The offsets at which the lines of a text begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at + 1).collect())
    }

    /// The line, from 1, in which a slice of the text begins.
    fn of_part(&self, text: &str, part: &str) -> usize {
        let offset = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
        self.0.partition_point(|start| *start <= offset) + 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(entries: &[Entry]) -> Vec<String> {
        let one = |entry: &Entry| match &entry.uri {
            Ok(uri) => format!("{}: {uri}", entry.line),
            Err(unfit) => format!("{}: ({unfit})", entry.line),
        };
        entries.iter().map(one).collect()
    }

    #[test]
    fn one_line_sources_are_parsed_like_apt() {
        let text = "# deb http://comment.example/d trixie main\n\
            deb http://a.example/d trixie main contrib # note\n\
            \tdeb\thttp://b.example/d/\tstable\tmain\n\
            deb [ arch=amd64,arm64 signed-by=/usr/share/keyrings/x#y.gpg ] https://c.example/d stable main\n\
            deb [signed-by=\"/a b]c\"] http://d.example/d noble main\n\
            deb-src http://e.example/d trixie main\n\
            deb cdrom:[Debian GNU/Linux 13 _Trixie_]/ trixie main\n\
            deb http://f.example/flat ./\n\
            deb http://g.example/d\n\
            deb [arch=amd64 http://h.example/d trixie\n\
            deb\n\
            rpm http://i.example/d trixie main\n\
            deb http://j.example/d \"trixie\" main\r\n\
            \n   \n\
            deb mirror+file:/etc/apt/mirrors/debian.list trixie main";
        let expected = [
            "2: http://a.example/d",
            "3: http://b.example/d/",
            "4: https://c.example/d",
            "5: http://d.example/d",
            "6: (only source packages: deb-src)",
            "7: cdrom:[Debian GNU/Linux 13 _Trixie_]/",
            "8: (a flat repository, without suites)",
            "9: (the line has no suite)",
            "10: (the options have no closing bracket)",
            "11: (the line has no URI)",
            "12: (the line does not begin with deb or deb-src)",
            "13: http://j.example/d",
            "16: mirror+file:/etc/apt/mirrors/debian.list",
        ];
        assert_eq!(shown(&one_line(text)), expected);
    }

    #[test]
    fn deb822_sources_are_parsed_like_apt() {
        let text = "# a comment paragraph\n\n\
            Types: deb deb-src\n# URIs: http://comment.example/d\nURIs: http://a.example/d/\n  http://b.example/d\n# more\n\thttp://c.example/d\n\
            Suites: trixie trixie-updates\nComponents: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n xyz\n -----END PGP PUBLIC KEY BLOCK-----\n\n\
            types: deb\nuris: http://d.example/d\nsuites: noble\nENABLED: No\n  \n\
            Types: deb-src\nURIs: http://e.example/d\nSuites: trixie\n\n\
            Types: deb\nURIs: http://f.example/d\nSuites: ./\n\n\
            Types: deb\nURIs: http://g.example/d\nSuites: / trixie\nEnabled: yes\n\n\
            URIs: http://h.example/d\nSuites: trixie\n\n\
            Types: deb\nSuites: trixie\n\n\
            Types: deb\nURIs: http://i.example/d\n\n\
            Types: deb\nTypes: deb\nURIs: http://j.example/d\nSuites: trixie\n\n\
            deb http://k.example/d trixie main\n\n\
            Types: deb\r\nURIs: http://l.example/d\r\nSuites: trixie\r\n";
        let expected = [
            "5: http://a.example/d/",
            "6: http://b.example/d",
            "8: http://c.example/d",
            "17: (disabled: Enabled is no)",
            "22: (only source packages: deb-src)",
            "26: (a flat repository, without suites)",
            "31: http://g.example/d",
            "35: (the paragraph has no Types)",
            "38: (the paragraph has no URIs)",
            "41: (the paragraph has no Suites)",
            "44: (the paragraph is not deb822)",
            "49: (the paragraph is not deb822)",
            "52: http://l.example/d",
        ];
        assert_eq!(shown(&deb822(text)), expected);
    }

    #[test]
    fn a_mirror_list_is_sorted_by_priority() {
        let text = "# mirrors\nhttp://a.example/d\nhttp://b.example/d\tpriority:2\tarch:amd64 arch:i386\n\
            http://c.example/d priority:1 # near\nhttp://d.example/d arch:arm64\nhttp://e.example/d priority:none\n";
        let expected = [
            "4: http://c.example/d",
            "3: http://b.example/d",
            "2: http://a.example/d",
            "5: (a mirror for a different architecture)",
            "6: http://e.example/d",
        ];
        assert_eq!(shown(&mirror_list(text)), expected);
    }

    #[test]
    fn every_false_value_disables_a_source() {
        for value in ["no", "False", "WITHOUT", "off", "disable", "0"] {
            let text = format!("Types: deb\nURIs: http://a.example/d\nSuites: trixie\nEnabled:  {value} \n");
            assert_eq!(deb822(&text)[0].uri, Err(Unfit::Disabled), "{value}");
        }
        for value in ["yes", "true", "1", ""] {
            let text = format!("Types: deb\nURIs: http://a.example/d\nSuites: trixie\nEnabled: {value}\n");
            assert!(deb822(&text)[0].uri.is_ok(), "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_without_a_panic(text in "(?s)(deb |deb-src |Types: deb\n|URIs: |Suites: |[\\[\\]\"# \t\n]|http://a/|é|.){0,60}") {
            for entry in one_line(&text).into_iter().chain(deb822(&text)).chain(mirror_list(&text)) {
                prop_assert!(entry.line >= 1 && entry.line <= text.lines().count());
                prop_assert!(entry.uri.is_err() || entry.uri.is_ok_and(|uri| !uri.is_empty() && text.replace('"', "").contains(&uri.replace('"', ""))));
            }
        }

        #[test]
        fn a_formatted_source_is_parsed(host in "[a-z]{1,8}", suite in "[a-z]{1,8}", options in "[a-z=/,# ]{0,12}") {
            let uri = format!("http://{host}.example/debian");
            let line = format!("deb [{options}] {uri} {suite} main");
            prop_assert_eq!(one_line(&line), [Entry { line: 1, uri: Ok(uri.clone()) }]);
            let paragraph = format!("Suites: {suite}\nURIs:\n# {options}\n {uri}\nTypes: deb\n");
            prop_assert_eq!(deb822(&paragraph), [Entry { line: 4, uri: Ok(uri) }]);
        }
    }
}
