//! The table of volumes, the table of boots from volumes, and the comparison of our writer with the best peer.

use super::{BEST, HELD, Volumes, WayBoots, Writer, Written};
use crate::figures::{Series, Unit, float, memory, processor, wall};
use crate::report;

/// The maximum share of the peer's figure for each property.
const AIMS: [(&str, f64); 3] =
    [("size", 1.02), ("time", 1.0 / 8.0), ("time after one file was touched", 1.0 / 50.0)];

/// The table of volumes in Markdown.
pub fn table(volumes: &Volumes) -> String {
    let rows: Vec<Vec<String>> = volumes.written.iter().map(row).collect();
    let head = [
        "Volumes",
        "size",
        "time",
        "processor time",
        "most memory",
        "one file touched",
        "read of 4 KiB",
        "of 128 KiB",
        "of all files",
    ];
    format!("{}{}", report::table(&head, &rows), comparison(volumes).unwrap_or_default())
}

fn row(written: &Written) -> Vec<String> {
    let touched =
        if written.touched.is_empty() { String::new() } else { wall(&written.touched).show(Unit::Seconds) };
    let mut cells = vec![
        written.way.to_string(),
        Unit::Bytes.show(float(written.bytes)),
        wall(&written.costs).show(Unit::Seconds),
        processor(&written.costs).show(Unit::Seconds),
        memory(&written.costs).show(Unit::Bytes),
        touched,
    ];
    match &written.reads {
        Ok(reads) => {
            let micros =
                |samples: &[f64]| format!("{:.0} µs", Series::of(samples.iter().copied()).median() * 1e6);
            cells.extend([micros(&reads.small), micros(&reads.large)]);
            cells.push(Unit::Seconds.show(Series::of(reads.whole.iter().copied()).median()));
        }
        Err(why) => cells.extend([format!("not measured: {why}"), String::new(), String::new()]),
    }
    cells
}

/// The table of boots from volumes in Markdown.
pub fn boot_table(ways: &[WayBoots]) -> String {
    let rows: Vec<Vec<String>> = ways
        .iter()
        .map(|one| {
            let boot = |which: usize| {
                let seconds = one.boots.iter().map(|pair| pair[which].baseline);
                Series::of(seconds).show(Unit::Seconds)
            };
            vec![one.way.to_string(), Unit::Bytes.show(float(one.bytes)), boot(0), boot(1)]
        })
        .collect();
    let head = ["Booting from a root volume by", "size", "first boot: UKI start → Baseline", "second boot"];
    report::table(&head, &rows)
}

/// Compares [`HELD`] with [`BEST`]; `None` if one of them was not measured.
fn comparison(volumes: &Volumes) -> Option<String> {
    let find = |(writer, settings): (Writer, &str)| {
        volumes.written.iter().find(|one| one.way.writer == writer && one.way.settings == settings)
    };
    let (ours, best) = (find(HELD)?, find(BEST)?);
    let time = wall(&best.costs).median();
    let shares = [
        float(ours.bytes) / float(best.bytes),
        wall(&ours.costs).median() / time,
        wall(&ours.touched).median() / time,
    ];
    let verdicts = AIMS.iter().zip(shares).map(|((what, most), share)| {
        let verdict = if share <= *most { "met" } else { "missed" };
        format!("{what} {} (aim ≤ {}: {verdict})", ratio(share), ratio(*most))
    });
    let verdicts: Vec<String> = verdicts.collect();
    Some(format!("{} compared with {}: {}\n\n", ours.way, best.way, verdicts.join(", ")))
}

/// A ratio as text, with three decimals, because two would hide the difference to the aim of 1.02.
fn ratio(share: f64) -> String {
    if share <= 0.2 { format!("1/{:.0}", 1.0 / share) } else { format!("{share:.3}") }
}
