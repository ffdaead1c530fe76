//! What `murre maintain` prints: a line for each table and one for all, for people or as JSON.

use std::fmt::{self, Display};

use serde::Serialize;
use serde_json::{Value, json};

use super::options::Format;
use crate::error::{Error, Result};
use crate::maintenance::{CompactReport, Holder, ManifestReport};
use crate::model::TableName;

/// What became of one table.
pub(super) enum Line {
    Done(Report),
    /// Somebody else maintains it.
    Skipped(TableName, Holder),
    /// The command was told to end.
    Stopped(TableName),
    Failed(TableName, Error),
}

/// A report in both forms.
pub(super) struct Report {
    text: String,
    json: Value,
}

impl Line {
    pub(super) fn done(report: &(impl Display + Serialize)) -> Result<Self> {
        let json = serde_json::to_value(report);
        Ok(Self::Done(Report {
            text: report.to_string(),
            json: json.map_err(|error| Error::internal("print a report", error))?,
        }))
    }

    pub(super) fn shown(&self, format: Format) -> String {
        match format {
            Format::Text => self.text(),
            Format::Json => self.json().to_string(),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Done(report) => report.text.clone(),
            Self::Skipped(name, holder) => format!("{name}: skipped, maintained by {holder}"),
            Self::Stopped(name) => format!("{name}: stopped"),
            Self::Failed(name, error) => format!("{name}: failed: {error}"),
        }
    }

    fn json(&self) -> Value {
        let of = |name: &TableName, key: &str, value: Value| {
            let mut line = json!({ "table": name.to_string() });
            line[key] = value;
            line
        };
        match self {
            Self::Done(report) => report.json.clone(),
            Self::Skipped(name, holder) => of(name, "skipped", json!(holder)),
            Self::Stopped(name) => of(name, "stopped", json!(true)),
            Self::Failed(name, error) => of(name, "error", json!(error.to_string())),
        }
    }
}

/// What became of all tables.
#[derive(Debug, Default, Serialize)]
pub(super) struct Tally {
    tables: usize,
    done: usize,
    skipped: usize,
    failed: usize,
    pub(super) stopped: bool,
}

impl Tally {
    pub(super) fn count(&mut self, line: &Line) {
        self.tables += 1;
        match line {
            Line::Done(_) => self.done += 1,
            Line::Skipped(..) => self.skipped += 1,
            Line::Stopped(_) => self.stopped = true,
            Line::Failed(..) => self.failed += 1,
        }
    }

    pub(super) fn shown(&self, format: Format) -> String {
        match format {
            Format::Text => self.to_string(),
            Format::Json => json!({ "summary": self }).to_string(),
        }
    }

    /// # Errors
    /// [`Error::Internal`] if a table failed, or not all were looked at.
    pub(super) fn outcome(&self) -> Result<()> {
        let Self { tables, failed, .. } = self;
        match (failed, self.stopped) {
            (0, false) => Ok(()),
            (_, true) => Err(Error::internal("maintain tables", "stopped by a signal")),
            (failed, _) => {
                let message = format!("{failed} of {tables} failed");
                Err(Error::internal("maintain tables", message))
            }
        }
    }
}

impl Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            tables,
            done,
            skipped,
            failed,
            ..
        } = self;
        match tables {
            0 => f.write_str("no tables"),
            _ => write!(
                f,
                "{tables} tables: {done} done, {skipped} skipped, {failed} failed"
            ),
        }
    }
}

/// A compaction, and the merging of manifests after it.
#[derive(Serialize)]
pub(super) struct Compacted {
    #[serde(flatten)]
    pub(super) files: CompactReport,
    pub(super) manifests: ManifestReport,
}

impl Display for Compacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { files, manifests } = self;
        let (before, after) = (manifests.before, manifests.after);
        match before == after {
            true => write!(f, "{files}"),
            false => write!(f, "{files}; {before} manifests → {after}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> TableName {
        TableName::parse("default", "online.stats").unwrap()
    }

    fn lines() -> Vec<Line> {
        let holder = Holder {
            id: "host/1/ab".to_owned(),
            until_ms: 1_800_000_000_000,
        };
        let failed = Error::CommitConflict {
            table: "online.stats".to_owned(),
        };
        vec![
            Line::done(&5).unwrap(),
            Line::Skipped(name(), holder),
            Line::Stopped(name()),
            Line::Failed(name(), failed),
        ]
    }

    #[test]
    fn lines_say_what_became_of_a_table() {
        let text: Vec<_> = lines().iter().map(|it| it.shown(Format::Text)).collect();
        assert_eq!(
            text,
            [
                "5",
                "online.stats: skipped, maintained by host/1/ab until 2027-01-15T08:00:00Z",
                "online.stats: stopped",
                "online.stats: failed: table `online.stats` was changed by others at the same time; nothing was written, \
                 send the request again",
            ]
        );
        let json: Vec<_> = lines().iter().map(|it| it.shown(Format::Json)).collect();
        assert_eq!(json[0], "5");
        assert_eq!(
            json[1],
            r#"{"skipped":{"id":"host/1/ab","until_ms":1800000000000},"table":"online.stats"}"#
        );
        assert_eq!(json[2], r#"{"stopped":true,"table":"online.stats"}"#);
        assert!(
            json[3].starts_with(r#"{"error":"table `online.stats`"#),
            "{json:?}"
        );
    }

    #[test]
    fn a_failing_or_stopped_table_is_the_exit_codes_business() {
        let mut tally = Tally::default();
        assert_eq!(tally.to_string(), "no tables");
        let [done, skipped, stopped, failed] = &lines()[..] else {
            panic!("four lines");
        };
        tally.count(done);
        tally.count(skipped);
        assert_eq!(tally.to_string(), "2 tables: 1 done, 1 skipped, 0 failed");
        assert!(tally.outcome().is_ok());
        tally.count(failed);
        let failed = tally.outcome().unwrap_err().to_string();
        assert_eq!(failed, "maintain tables: 1 of 3 failed");
        tally.count(stopped);
        let stopped = tally.outcome().unwrap_err().to_string();
        assert_eq!(stopped, "maintain tables: stopped by a signal");
    }
}
