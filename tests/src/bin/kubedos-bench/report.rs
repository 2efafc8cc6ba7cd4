//! The tables in Markdown: for `docs/benchmarks.md`, and for the terminal with an additional column of the committed figures.

use serde_json::json;

use crate::committed::Committed;
use crate::conditions::Conditions;
use crate::figures::{Aim, Figures, Line, Unit, lines};
use crate::peer::Reason;
use crate::{planes, volumes};

/// The input of the tables.
#[derive(Debug)]
pub struct Report<'a> {
    before: &'a Conditions,
    after: &'a Conditions,
    figures: &'a Figures,
}

impl<'a> Report<'a> {
    /// A report of the figures, with the conditions before and after the measurement.
    pub const fn new(before: &'a Conditions, after: &'a Conditions, figures: &'a Figures) -> Self {
        Self { before, after, figures }
    }

    /// All samples as JSON.
    pub fn json(&self) -> String {
        format!("{:#}\n", json!({ "before": self.before, "after": self.after, "figures": self.figures }))
    }

    /// The tables. If the committed figures are given, they have a column next to kubedOS's.
    pub fn markdown(&self, committed: Option<&Committed>) -> String {
        let mut text = self.conditions();
        let lines = lines();
        for of_table in lines.chunk_by(|a, b| a.table == b.table) {
            let measured = |line: &&Line| {
                self.figures.of_ours(line.name).is_some() || self.figures.of_peer(line.name).is_some()
            };
            let rows: Vec<Vec<String>> =
                of_table.iter().filter(measured).map(|line| self.row(line, committed)).collect();
            if !rows.is_empty() {
                let mut head = vec![of_table[0].table, "kubedOS", "mkosi", "ratio", "aim"];
                if committed.is_some() {
                    head.splice(2..2, ["committed", "change"]);
                }
                text += &table(&head, &rows);
            }
        }
        let planes = self.figures.planes.as_ref().map(planes::tables).unwrap_or_default();
        text + &planes + &self.volumes() + &self.stages()
    }

    fn conditions(&self) -> String {
        let Conditions {
            date,
            commit,
            processor,
            processors,
            memory_bytes,
            kernel,
            load,
            emulator,
            acceleration,
        } = self.before;
        let loads = |load: &[f64; 2]| format!("{:.1} and {:.1}", load[0], load[1]);
        let mut text = format!(
            "- {date}, commit {commit}\n- {processors} × {processor}, {}, Linux {kernel}\n- {emulator}, {acceleration}\n- \
             load of the last minute and the last five: {} at the start, {} at the end\n",
            kubedos_builder::size::human(*memory_bytes),
            loads(load),
            loads(&self.after.load),
        );
        for (table, why) in self.figures.without_peer() {
            text += &format!("- {table}: mkosi was not measured: {why}\n");
        }
        text + "\n"
    }

    fn row(&self, line: &Line, committed: Option<&Committed>) -> Vec<String> {
        let (ours, peer) = (self.figures.of_ours(line.name), self.figures.of_peer(line.name));
        let show = |series: &crate::figures::Series| series.show(line.unit);
        let mut cells = vec![line.name.to_owned(), ours.map(show).unwrap_or_default()];
        if let Some(committed) = committed {
            let was = committed.median(line.name, line.unit);
            cells.push(was.map_or_else(String::new, |was| line.unit.show(was)));
            let change =
                ours.zip(was).map(|(ours, was)| format!("{:+.0} %", (ours.median() / was - 1.0) * 100.0));
            cells.push(change.unwrap_or_default());
        }
        let is_missing = line.has_peer && self.figures.without_peer().contains_key(line.table);
        cells.push(peer.map_or_else(|| if is_missing { "not measured".into() } else { String::new() }, show));
        let ratio = ours.zip(peer).map(|(ours, peer)| ours.median() / peer.median());
        cells.push(ratio.map_or_else(String::new, show_ratio));
        cells.push(line.aim.map_or_else(String::new, |aim| {
            let (value, most) = match aim {
                Aim::Share(most) => (ratio, most),
                Aim::Most(most) => (ours.map(crate::figures::Series::median), most),
            };
            let verdict = value.map_or("", |value| if value <= most { ": met" } else { ": missed" });
            format!("≤ {}{verdict}", show_aim(aim, line.unit))
        }));
        cells
    }

    /// The tables of volumes and of boots from volumes, or the reason why there are none.
    fn volumes(&self) -> String {
        let missing = |why: &Reason| format!("- Volumes were not measured: {why}\n\n");
        let of_tree = self.figures.volumes.as_ref();
        let boots = self.figures.volume_boots.as_ref();
        let of_tree = of_tree.map(|volumes| volumes.as_ref().map_or_else(missing, volumes::table));
        let boots =
            boots.map(|boots| boots.as_ref().map_or_else(missing, |boots| volumes::boot_table(boots)));
        [of_tree, boots].into_iter().flatten().collect()
    }

    /// When each stage ended and how long it took, in the first and the second boot. Uses the boot with the median time.
    fn stages(&self) -> String {
        let boots = &self.figures.boots;
        let mut middle = [0, 1].map(|which| {
            let mut boots: Vec<_> = boots.iter().map(|boot| &boot[which]).collect();
            boots.sort_by(|a, b| a.baseline.total_cmp(&b.baseline));
            boots
        });
        let [Some(first), Some(second)] = middle.each_mut().map(|boots| {
            let at = boots.len().saturating_sub(1) / 2;
            boots.get(at).copied()
        }) else {
            return String::new();
        };
        let seconds = |value: f64| Unit::Seconds.show(value);
        let rows: Vec<Vec<String>> = first
            .stages
            .iter()
            .map(|stage| {
                let again = second.stages.iter().find(|other| other.stage == stage.stage);
                let again =
                    again.map_or_else(Default::default, |again| [seconds(again.ended), seconds(again.took)]);
                let [ended, took] = again;
                vec![stage.stage.clone(), seconds(stage.ended), seconds(stage.took), ended, took]
            })
            .collect();
        table(&["Stages", "first boot: ended", "took", "second boot: ended", "took"], &rows)
    }
}

fn show_ratio(ratio: f64) -> String {
    if ratio <= 0.2 { format!("1/{:.0}", 1.0 / ratio) } else { format!("{ratio:.2}") }
}

fn show_aim(aim: Aim, unit: Unit) -> String {
    match aim {
        Aim::Share(most) => show_ratio(most),
        Aim::Most(most) => unit.show(most),
    }
}

/// A Markdown table whose columns are as wide as their widest cell.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].chars().count(), 3]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: Vec<String>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| {
            let missing = width.saturating_sub(cell.chars().count());
            format!(" {cell}{} |", " ".repeat(missing))
        });
        format!("|{}\n", padded.collect::<String>())
    };
    let rule = widths.iter().map(|width| "-".repeat(*width)).collect();
    let mut text = line(head.iter().map(|cell| (*cell).to_owned()).collect()) + &line(rule);
    rows.iter().for_each(|row| text += &line(row.clone()));
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned() {
        let rows = [vec!["→ raw".to_owned(), "1.1 s".to_owned()], vec!["x".to_owned(), String::new()]];
        let expected = "| Building | kubedOS |\n| -------- | ------- |\n| → raw    | 1.1 s   |\n| x        |         |\n\n";
        assert_eq!(table(&["Building", "kubedOS"], &rows), expected);
    }

    #[test]
    fn small_ratios_are_fractions() {
        for (ratio, text) in [(0.01, "1/100"), (0.1, "1/10"), (0.35, "0.35"), (2.0, "2.00")] {
            assert_eq!(show_ratio(ratio), text);
        }
    }
}
