//! The status page, which is printed when a user presses Enter on the console (docs/console.md). A pure function from
//! facts to lines.
//!
//! It fits into 80 columns, and into 24 lines on a node with few errors. It shows no secret and accepts no command.
//! `Page::line` escapes every line (`kubedos_wire::record::not_a_record`), so that a label on a foreign disk cannot
//! control the terminal.

pub mod tty;

use std::time::Duration;

use crate::board::{Facts, StageState};
use crate::stages::backplanes::planes::PlaneState;
use crate::stages::disks::choose::HAS_THE_SEED;
use kubedos_wire::handover::Medium;
use kubedos_wire::record::{Outcome, not_a_record};
use time::OffsetDateTime;

/// The page's width.
const WIDTH: usize = 80;

/// Maximum number of lines for one disk: enough for `kubedos_survey::show` with the longest possible fields.
const DISK_LINES: usize = 12;

/// Maximum number of paths that are listed.
const PATHS: usize = 3;

/// The facts that the page shows in addition to the board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// Time since the kernel started.
    pub uptime: Duration,
    /// The wall clock, seconds since 1970.
    pub clock: u64,
    /// Names of failed units, or why systemd did not answer.
    pub failed_units: Option<Result<Vec<String>, String>>,
    /// The planes, or why the kernel did not answer.
    pub planes: Result<Vec<PlaneState>, String>,
    /// Packets that the firewall dropped, by the name of the rule, the largest number first; or why the kernel did not
    /// answer.
    pub drops: Result<Vec<(String, u64)>, String>,
}

/// Renders the page; each line ends with a line feed.
pub fn render(facts: &Facts, moment: &Moment) -> String {
    let mut page = Page(String::new());
    head(&mut page, facts, moment);
    stages(&mut page, facts);
    for disk in &facts.disks {
        page.field(&disk.name, &disk.text);
    }
    attached(&mut page, facts);
    planes(&mut page, moment);
    drops(&mut page, moment);
    paths(&mut page, facts);
    for conflict in &facts.conflicts {
        page.wrapped("conflict", &conflict.to_string(), 2);
    }
    trouble(&mut page, facts, moment);
    page.0
}

fn head(page: &mut Page, facts: &Facts, moment: &Moment) {
    let release = facts.handover.as_ref().map_or("", |handover| handover.release.as_str());
    let release = if release.is_empty() { String::new() } else { format!(" {release}") };
    page.rule(&format!(" kubedOS{release} | {} ", facts.node.as_deref().unwrap_or("node not known yet")));
    if facts.demo_keys {
        page.line("*** DEMO KEYS: every secret of this cluster is published. Not for real use. ***");
    }
    if let Some(handover) = &facts.handover {
        let role = facts.role.as_deref().map_or(String::new(), |role| format!(", {role}"));
        let incarnation = facts.incarnation.map_or(String::new(), |number| format!(", incarnation {number}"));
        page.field(
            "cluster",
            &format!(
                "{} ({}), generation {}{role}{incarnation}",
                handover.cluster,
                short(&handover.cluster_id),
                handover.generation
            ),
        );
        if let Some(floors) = &facts.floors {
            page.field("floors", floors);
        }
        let medium = match handover.medium {
            Medium::Disk => "disk",
            Medium::Cd => "CD",
        };
        page.field(
            "booted",
            &format!(
                "{} ({medium})  root {}  payload {}  conf {}",
                handover.boot_device,
                short(&handover.root_hash),
                short(&handover.payload_hash),
                short(&handover.configuration_hash)
            ),
        );
    }
    let compared = facts.clock.as_ref().map_or(String::new(), |compared| format!(", {compared}"));
    let uptime = span(moment.uptime);
    page.field("clock", &format!("{} UTC, up {uptime}{compared}", calendar(moment.clock)));
    if let Some(fingerprint) = &facts.fingerprint {
        page.field("node key", fingerprint);
    }
}

fn stages(page: &mut Page, facts: &Facts) {
    page.line(&format!("{:<14} {:<10} {:>8} {:>9}  {}", "STAGE", "STATE", "AT", "TOOK", "ABOUT"));
    let (run, not_yet): (Vec<_>, Vec<_>) =
        facts.stages.iter().partition(|state| state.stage.in_this_version());
    for state in run {
        page.line(&stage(state));
    }
    let names: Vec<&str> = not_yet.iter().map(|state| state.stage.name()).collect();
    page.field("not yet", &format!("{}: not in this version", names.join(", ")));
    // The column is narrow, and an operator must be able to read what the node waits for.
    for state in &facts.stages {
        let waits = state.outcome == Some(Outcome::Waiting) && state.stage.in_this_version();
        if waits && stage(state).chars().count() > WIDTH {
            page.wrapped("waits on", &state.about, 3);
        }
    }
}

fn stage(state: &StageState) -> String {
    let Some(outcome) = state.outcome else {
        return format!("{:<14} -", state.stage.name());
    };
    let took = state.took.map_or(String::new(), |took| format!("{} ms", took.as_millis()));
    format!(
        "{:<14} {:<10} {:>6.1} s {:>9}  {}",
        state.stage.name(),
        outcome.name(),
        state.at.as_secs_f64(),
        took,
        state.about
    )
}

/// Paths that are smaller than planned; one line each, and one for the rest.
fn paths(page: &mut Page, facts: &Facts) {
    for path in facts.small_paths.iter().take(PATHS) {
        page.wrapped("path", &path.to_string(), 2);
    }
    let more = facts.small_paths.len().saturating_sub(PATHS);
    if more > 0 {
        page.field("path", &format!("{more} more nodes are not reached by packets of the planned size"));
    }
}

/// One line for each plane: the node's address, the number of nodes with a session and of all nodes, the bytes, and the nodes without a
/// session.
fn planes(page: &mut Page, moment: &Moment) {
    match &moment.planes {
        Ok(planes) => {
            for plane in planes {
                let sessions = plane.nodes.saturating_sub(plane.silent.len());
                let (received, sent) = (size(plane.received), size(plane.sent));
                let silent = if plane.silent.is_empty() {
                    String::new()
                } else {
                    format!(", no session: {}", plane.silent.join(" "))
                };
                let address = &plane.address;
                page.field(
                    plane.id.as_str(),
                    &format!(
                        "{address}, {sessions}/{} sessions, in {received}, out {sent}{silent}",
                        plane.nodes
                    ),
                );
            }
        }
        Err(reason) => page.field("planes", reason),
    }
}

/// One line with the rules of the firewall that dropped packets, as many as fit.
fn drops(page: &mut Page, moment: &Moment) {
    match &moment.drops {
        Ok(drops) if drops.is_empty() => {}
        Ok(drops) => {
            let rest = |shown: usize| format!(", {} more rules", drops.len().saturating_sub(shown));
            let mut text = String::new();
            for (shown, (rule, packets)) in drops.iter().enumerate() {
                let separator = if text.is_empty() { "" } else { ", " };
                let next = format!("{text}{separator}{packets} {rule}");
                let room = WIDTH - 10 - if shown + 1 < drops.len() { rest(shown).len() } else { 0 };
                if !text.is_empty() && next.chars().count() > room {
                    text.push_str(&rest(shown));
                    break;
                }
                text = next;
            }
            page.field("dropped", &text);
        }
        Err(reason) => page.field("dropped", reason),
    }
}

/// A number of bytes for a person.
fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_240_000 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes / (1024 * 1024)),
    }
}

/// The attached disks: described in full if no disk has STATE and DATA, otherwise one line for each disk that was not
/// chosen.
fn attached(page: &mut Page, facts: &Facts) {
    let settled = facts.disks.iter().any(|disk| disk.name == "system");
    for disk in &facts.attached {
        if !settled {
            page.wrapped(&disk.name, &disk.text, DISK_LINES);
        } else if disk.text.starts_with("chosen") || disk.name == "no driver" {
            continue;
        } else if let Some(rest) = disk.text.strip_prefix(HAS_THE_SEED) {
            page.field("seed", &format!("{}{rest}", disk.name));
        } else {
            page.field("not used", &format!("{}: {}", disk.name, disk.text));
        }
    }
}

fn trouble(page: &mut Page, facts: &Facts, moment: &Moment) {
    if !facts.corrupt.is_empty() {
        page.field("CORRUPT", &facts.corrupt.join(", "));
    }
    match &moment.failed_units {
        Some(Ok(units)) if units.is_empty() => page.field("units", "none failed"),
        Some(Ok(units)) => page.field("FAILED", &units.join(" ")),
        Some(Err(reason)) => page.field("units", reason),
        None => {}
    }
    if facts.errors.is_empty() {
        page.field("errors", "none");
    }
    for error in facts.errors.iter().rev().take(4) {
        page.wrapped("error", &format!("{:.1} s {}: {}", error.at.as_secs_f64(), error.stage, error.text), 3);
    }
    page.rule("");
}

/// Collects lines of at most [`WIDTH`] characters.
struct Page(String);

impl Page {
    fn line(&mut self, text: &str) {
        self.0.push_str(shown(text, WIDTH).trim_end());
        self.0.push('\n');
    }

    fn field(&mut self, name: &str, text: &str) {
        self.line(&format!("{name:<9} {text}"));
    }

    /// A field of up to `lines` lines, which break at spaces where possible.
    fn wrapped(&mut self, name: &str, text: &str, lines: usize) {
        let width = WIDTH - 10.max(name.chars().count() + 1);
        let mut rest: Vec<char> = not_a_record(text).chars().collect();
        let mut name = name;
        for _ in 1..lines {
            if rest.len() <= width {
                break;
            }
            let space = rest.iter().take(width + 1).rposition(|c| *c == ' ').filter(|at| *at > width / 2);
            let tail = rest.split_off(space.unwrap_or(width));
            self.field(name, &rest.iter().collect::<String>());
            name = "";
            rest = tail.into_iter().skip_while(|c| *c == ' ').collect();
        }
        if !rest.is_empty() {
            self.field(name, &rest.iter().collect::<String>()); // `line` cuts it
        }
    }

    fn rule(&mut self, title: &str) {
        let mut line = format!("=={title}");
        let missing = WIDTH.saturating_sub(line.chars().count());
        line.push_str(&"=".repeat(missing));
        self.line(&line);
    }
}

/// Makes the text printable, and cuts it to `width` characters.
fn shown(text: &str, width: usize) -> String {
    let text = not_a_record(text);
    if text.chars().count() > width {
        return text.chars().take(width.saturating_sub(2)).chain("..".chars()).collect();
    }
    text
}

/// The first twelve characters of a hash.
fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

/// `2d 03:04:05`.
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let clock = format!("{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    if days == 0 { clock } else { format!("{days}d {clock}") }
}

/// Date and time in UTC for seconds since 1970.
pub fn calendar(seconds: u64) -> String {
    let moment =
        i64::try_from(seconds).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    let Some(moment) = moment else { return format!("{seconds} s after 1970") };
    let ((year, month, day), (hour, minute, second)) = (moment.to_calendar_date(), moment.to_hms());
    format!("{year}-{:02}-{day:02} {hour:02}:{minute:02}:{second:02}", u8::from(month))
}

#[cfg(test)]
mod tests;
