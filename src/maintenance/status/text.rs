//! The state of tables as a table for people.

use std::time::Duration;

use bytesize::ByteSize;

use super::TableStatus;

const TITLES: [&str; 13] = [
    "TABLE",
    "ROWS",
    "BYTES",
    "FILES",
    "SMALL",
    "LOOSE",
    "DELETES",
    "MANIFESTS",
    "SNAPSHOTS",
    "OLDEST",
    "METADATA",
    "SCHEDULE",
    "DUE",
];

/// A line of titles and one for each table, with columns as wide as what is in them.
pub(in crate::maintenance) fn text_table(tables: &[TableStatus]) -> String {
    let titles = TITLES.map(str::to_owned);
    let lines: Vec<[String; 13]> = [titles]
        .into_iter()
        .chain(tables.iter().map(cells))
        .collect();
    let width = |column: usize| {
        let cells = lines.iter().map(|line| line[column].chars().count());
        cells.max().unwrap_or_default()
    };
    let widths: [usize; 13] = std::array::from_fn(width);
    let lines = lines.iter().map(|line| {
        let cells = line.iter().zip(widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn cells(status: &TableStatus) -> [String; 13] {
    let age = status.oldest_snapshot_age_s.map_or_else(String::new, age);
    let due = status.due.clone().unwrap_or_else(|| "-".to_owned());
    let due = match &status.maintainer {
        Some(holder) => format!("{due} (maintained by {holder})"),
        None => due,
    };
    [
        status.table.clone(),
        status.rows.to_string(),
        ByteSize::b(status.bytes).to_string(),
        status.files.to_string(),
        status.small_files.to_string(),
        status.loose_files.to_string(),
        status.delete_files.to_string(),
        status.manifests.to_string(),
        status.snapshots.to_string(),
        age,
        ByteSize::b(status.metadata_bytes).to_string(),
        status.maintenance.clone().unwrap_or_else(|| "-".to_owned()),
        due,
    ]
}

/// To the minute: days and hours are what matters.
fn age(seconds: u64) -> String {
    let minutes = Duration::from_secs(seconds / 60 * 60);
    match minutes.is_zero() {
        true => "now".to_owned(),
        false => humantime::format_duration(minutes).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::maintenance::Holder;

    #[test]
    fn columns_are_aligned() {
        let one = TableStatus {
            table: "online.stats".to_owned(),
            files: 12,
            bytes: 4096,
            oldest_snapshot_age_s: Some(93_784),
            maintenance: Some("on".to_owned()),
            due: Some("12 files of 4.0 KiB are in no partition yet".to_owned()),
            ..TableStatus::default()
        };
        let other = TableStatus {
            table: "t.s".to_owned(),
            rows: 1_000_000,
            oldest_snapshot_age_s: Some(3),
            maintainer: Some(Holder {
                id: "host/1/ab".to_owned(),
                until_ms: 1_800_000_000_000,
            }),
            ..TableStatus::default()
        };
        assert_snapshot!(text_table(&[one, other]), @"
        TABLE         ROWS     BYTES    FILES  SMALL  LOOSE  DELETES  MANIFESTS  SNAPSHOTS  OLDEST      METADATA  SCHEDULE  DUE
        online.stats  0        4.0 KiB  12     0      0      0        0          0          1day 2h 3m  0 B       on        12 files of 4.0 KiB are in no partition yet
        t.s           1000000  0 B      0      0      0      0        0          0          now         0 B       -         - (maintained by host/1/ab until 2027-01-15T08:00:00Z)
        ");
    }
}
