//! The bands of connections as SVG 1.1: columns for the groups, one arrow for each row.
//!
//! All lengths are pixels. A row is as high as its services need, one line for each. A pointer over an arrow shows the
//! names of the rules' counters.

use std::fmt::Write as _;

use super::flows::{Band, Party, Row, Service};
use crate::plan::ClusterPlan;
use crate::plan::ranges::purpose_name;
use kubedos_wire::node::{PlanePurpose, Role};

const WIDTH: u32 = 1080;
const HEAD: u32 = 104;
const BAND: u32 = 40;
const LINE: u32 = 17;

const COLUMNS: [(Party, u32, &str); 5] = [
    (Party::Underlay, 100, "any machine"),
    (Party::Births, 300, "new nodes"),
    (Party::Operators, 500, "operators"),
    (Party::ControlPlanes, 690, "control planes"),
    (Party::Workers, 880, "workers"),
];

const STYLE: &str = "\
text { font: 13px sans-serif; fill: #24292f; }
.title { font-size: 18px; font-weight: bold; }
.group { font-weight: bold; text-anchor: middle; }
.band { font-weight: bold; }
.note { fill: #57606a; }
.names { fill: #57606a; text-anchor: middle; }
.label { paint-order: stroke; stroke: #ffffff; stroke-width: 4px; }
.column { stroke: #d0d7de; stroke-dasharray: 4 4; }
.arrow { fill: none; stroke-width: 2; }
";

pub(super) fn document(plan: &ClusterPlan, bands: &[Band<'_>]) -> String {
    let height = HEAD + bands.iter().map(band_height).sum::<u32>() + 56;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\">\n\
         <style>\n{STYLE}</style>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    let name = &plan.spec().metadata.name;
    line(&mut text, 20, 30, "title", &format!("{name}: who may open connections to whom"));
    for (party, x, title) in COLUMNS {
        // Writing to a String does not fail.
        let _written = writeln!(
            text,
            "<line class=\"column\" x1=\"{x}\" y1=\"{HEAD}\" x2=\"{x}\" y2=\"{}\"/>",
            height - 50
        );
        line(&mut text, x, 66, "group", title);
        line(&mut text, x, 84, "names", &members(plan, party));
    }
    let mut y = HEAD;
    for band in bands {
        draw(&mut text, band, y);
        y += band_height(band);
    }
    line(
        &mut text,
        20,
        height - 28,
        "note",
        "Everything else is dropped, and no node forwards packets. Replies are not drawn.",
    );
    line(
        &mut text,
        20,
        height - 10,
        "note",
        "A pointer over an arrow shows the names of the rules' counters.",
    );
    text.push_str("</svg>\n");
    text
}

/// The names of the party's members, or their number.
fn members(plan: &ClusterPlan, party: Party) -> String {
    let of_role = |role| {
        plan.nodes().iter().filter(|node| node.role == role).map(|node| node.name.to_string()).collect()
    };
    let names: Vec<String> = match party {
        Party::Underlay => return "on the underlay".to_owned(),
        Party::Births => return "before enrolment".to_owned(),
        Party::Operators => plan.operators().keys().map(ToString::to_string).collect(),
        Party::ControlPlanes => of_role(Role::ControlPlane),
        Party::Workers => of_role(Role::Worker),
    };
    let all = names.join(", ");
    match names.len() {
        0 => "none".to_owned(),
        _ if all.len() <= 26 => all,
        1 => "1".to_owned(),
        count => count.to_string(),
    }
}

fn lines(row: &Row) -> u32 {
    u32::try_from(row.services.len()).unwrap_or(u32::MAX / 64)
}

fn row_height(row: &Row) -> u32 {
    lines(row) * LINE + 16
}

fn band_height(band: &Band<'_>) -> u32 {
    BAND + arrows(band).filter_map(|rows| rows.first()).map(row_height).sum::<u32>() + 8
}

fn draw(text: &mut String, band: &Band<'_>, top: u32) {
    let (title, colour) = match band.plane {
        None => ("underlay".to_owned(), "#6e7781"),
        Some((id, plane)) => {
            let colour = match plane.purpose {
                PlanePurpose::Control => "#0969da",
                PlanePurpose::Observability => "#8250df",
                PlanePurpose::KubernetesBackend => "#1a7f37",
            };
            let purpose = purpose_name(plane.purpose);
            (format!("{id}, {purpose}: {}, port {}, MTU {}", plane.cidr, plane.port, plane.mtu), colour)
        }
    };
    let _written = writeln!(
        text,
        "<line x1=\"20\" y1=\"{top}\" x2=\"{}\" y2=\"{top}\" stroke=\"{colour}\" stroke-width=\"2\"/>",
        WIDTH - 20
    );
    line(text, 20, top + 20, "band label", &title);
    let mut y = top + BAND;
    for rows in arrows(band) {
        y += rows.first().map_or(0, row_height);
        arrow(text, rows, y - 8, colour);
    }
}

/// The rows of each arrow: an arrow has several heads if one group may open the same connections to several others.
fn arrows<'b>(band: &'b Band<'_>) -> impl Iterator<Item = &'b [Row]> {
    let one_way = |row: &Row| !row.both && row.from != row.to;
    band.rows.chunk_by(move |a, b| one_way(a) && one_way(b) && a.from == b.from && a.services == b.services)
}

/// One arrow with its services above it; a loop if a group opens connections to itself.
fn arrow(text: &mut String, rows: &[Row], y: u32, colour: &str) {
    let Some(row) = rows.first() else { return };
    let tips: Vec<u32> = rows.iter().map(|row| column(row.to)).collect();
    let (from, to) = (column(row.from), tips.iter().copied().max().unwrap_or_default());
    let rules: Vec<&str> = row.services.iter().map(|service| service.rule.as_str()).collect();
    let _written = writeln!(text, "<g><title>{}</title>", escaped(&rules.join("\n")));
    let path = if from == to {
        format!("M {from} {} h 24 v 14 h -20", y - 14)
    } else {
        format!("M {from} {y} H {to}")
    };
    let _written = writeln!(text, "<path class=\"arrow\" stroke=\"{colour}\" d=\"{path}\"/>");
    for tip in tips {
        head(text, (tip, if tip > from { -1 } else { 1 }), y, colour);
    }
    if row.both {
        head(text, (from, if to > from { 1 } else { -1 }), y, colour);
    }
    let mut at = y - 6 - (lines(row) - 1) * LINE;
    for Service { label, .. } in &row.services {
        let (x, anchor) = if from == to { (from + 32, "start") } else { (from.midpoint(to), "middle") };
        let _written = writeln!(
            text,
            "<text class=\"label\" x=\"{x}\" y=\"{at}\" text-anchor=\"{anchor}\">{}</text>",
            escaped(label)
        );
        at += LINE;
    }
    text.push_str("</g>\n");
}

/// The head of an arrow at a column; `side` is 1 if the arrow lies right of it, and -1 if left.
fn head(text: &mut String, (x, side): (u32, i32), y: u32, colour: &str) {
    let dx = side * 9;
    let _written = writeln!(text, "<path fill=\"{colour}\" d=\"M {x} {y} l {dx} -5 v 10 z\"/>");
}

fn column(party: Party) -> u32 {
    COLUMNS.iter().find(|(other, ..)| *other == party).map_or(0, |(_, x, _)| *x)
}

fn line(text: &mut String, x: u32, y: u32, class: &str, content: &str) {
    let _written = writeln!(text, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{}</text>", escaped(content));
}

/// The text with the special characters of XML replaced.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
