//! The table of volumes, and how ours stands beside the smallest of the peers.

use super::{BEST, HELD, Volumes, Way, WayBoots, Writer, Written};
use crate::figures::{Series, Unit};
use crate::report;
use crate::timed::Cost;

/// What ours may take of the peer's, and in what.
const AIMS: [(&str, f64); 3] =
    [("size", 1.02), ("time", 1.0 / 8.0), ("time after one file was touched", 1.0 / 50.0)];

/// Everything that was measured, in Markdown.
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
    let Way { writer, settings, .. } = written.way;
    let of = |costs: &[Cost], get: fn(&Cost) -> f64, unit: Unit| match costs {
        [] => String::new(),
        costs => Series::of(costs.iter().map(get)).show(unit),
    };
    let mut cells = vec![
        format!("{}, {settings}", writer.name()),
        Unit::Bytes.show(float(written.bytes)),
        of(&written.costs, |cost| cost.wall_seconds, Unit::Seconds),
        of(&written.costs, |cost| cost.processor_seconds, Unit::Seconds),
        of(&written.costs, |cost| float(cost.peak_bytes), Unit::Bytes),
        of(&written.touched, |cost| cost.wall_seconds, Unit::Seconds),
    ];
    match &written.reads {
        Ok(reads) => {
            let micros = |samples: &[f64]| format!("{:.0} µs", median(samples.iter().copied()) * 1e6);
            cells.extend([micros(&reads.small), micros(&reads.large)]);
            cells.push(Unit::Seconds.show(median(reads.whole.iter().copied())));
        }
        Err(why) => cells.extend([format!("not measured: {why}"), String::new(), String::new()]),
    }
    cells
}

/// Boots by the way of the root volume, in Markdown.
pub fn boot_table(ways: &[WayBoots]) -> String {
    let rows: Vec<Vec<String>> = ways
        .iter()
        .map(|one| {
            let boot = |which: usize| {
                let seconds = one.boots.iter().map(|pair| pair[which].baseline);
                Series::of(seconds).show(Unit::Seconds)
            };
            let name = format!("{}, {}", one.way.writer.name(), one.way.settings);
            vec![name, Unit::Bytes.show(float(one.bytes)), boot(0), boot(1)]
        })
        .collect();
    let head = ["Booting from a root volume by", "size", "first boot: UKI start → Baseline", "second boot"];
    report::table(&head, &rows)
}

/// Ours beside the peer's smallest, by the aims.
fn comparison(volumes: &Volumes) -> Option<String> {
    let find = |(writer, settings): (Writer, &str)| {
        volumes.written.iter().find(|one| one.way.writer == writer && one.way.settings == settings)
    };
    let (ours, best) = (find(HELD)?, find(BEST)?);
    let wall = |costs: &[Cost]| median(costs.iter().map(|cost| cost.wall_seconds));
    let shares = [
        float(ours.bytes) / float(best.bytes),
        wall(&ours.costs) / wall(&best.costs),
        wall(&ours.touched) / wall(&best.costs),
    ];
    let verdicts = AIMS.iter().zip(shares).map(|((what, most), share)| {
        let verdict = if share <= *most { "met" } else { "missed" };
        format!("{what} {} (aim ≤ {}: {verdict})", ratio(share), ratio(*most))
    });
    let verdicts: Vec<String> = verdicts.collect();
    let name = |(writer, settings): (Writer, &str)| format!("{}, {settings}", writer.name());
    Some(format!("{} beside {}: {}\n\n", name(HELD), name(BEST), verdicts.join(", ")))
}

/// Three decimals where two would hide what is aimed at.
fn ratio(share: f64) -> String {
    if share <= 0.2 { format!("1/{:.0}", 1.0 / share) } else { format!("{share:.3}") }
}

pub(super) fn median(samples: impl IntoIterator<Item = f64>) -> f64 {
    Series::of(samples).median()
}

/// What is measured here is far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "sizes of files and processes")]
pub(super) const fn float(bytes: u64) -> f64 {
    bytes as f64
}
