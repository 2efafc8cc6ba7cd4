//! Reads the committed figures of `docs/benchmarks.md`, with which a later run is compared.

use std::collections::BTreeMap;
use std::path::Path;

use crate::figures::Unit;

/// The second column (kubedOS) of every table of the page, by the first column.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Committed(BTreeMap<String, String>);

impl Committed {
    /// The figures of a page; empty if the page does not exist.
    pub fn read(path: &Path) -> Self {
        std::fs::read_to_string(path).map(|page| Self::parse(&page)).unwrap_or_default()
    }

    fn parse(page: &str) -> Self {
        let rows = page.lines().filter_map(|line| line.strip_prefix('|'));
        let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
        Self(
            cells.filter_map(|cells| Some((cells.first()?.to_string(), cells.get(1)?.to_string()))).collect(),
        )
    }

    /// The committed median of a row, if it has a figure in that unit.
    pub fn median(&self, what: &str, unit: Unit) -> Option<f64> {
        let text = self.0.get(what)?;
        unit.parse(text.split('(').next()?.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_read_from_the_tables_of_the_page() {
        let page = "# Benchmarks\n\n| what | kubedOS | mkosi |\n| --- | --- | --- |\n\
                    | an edit | 1.12 s (1.05–1.30) | 117 s |\n| UKI | 19.0 MiB | 69.0 MiB |\n| login | | 72 s |\n";
        let committed = Committed::parse(page);
        assert_eq!(committed.median("an edit", Unit::Seconds), Some(1.12));
        assert_eq!(committed.median("UKI", Unit::Bytes), Some(f64::from(19 << 20)));
        for (what, unit) in [("an edit", Unit::Bytes), ("login", Unit::Seconds), ("nothing", Unit::Seconds)] {
            assert_eq!(committed.median(what, unit), None, "{what}");
        }
    }
}
