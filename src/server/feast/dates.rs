//! Instants as Python's `isoformat` writes them.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};

use crate::error::{Error, Result};

/// Parses a date that may be absent; one without an offset is UTC.
///
/// # Errors
/// [`Error::InvalidRequest`] naming `key`.
pub(super) fn instant(key: &str, text: Option<&str>) -> Result<Option<DateTime<Utc>>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    match parse(text) {
        Some(instant) => Ok(Some(instant)),
        None => Err(Error::invalid(
            format!("command.{key}"),
            format!("expected an ISO 8601 date and time, found `{text}`"),
        )),
    }
}

fn parse(text: &str) -> Option<DateTime<Utc>> {
    let with_offset = || {
        DateTime::parse_from_rfc3339(text)
            .ok()
            .map(|time| time.to_utc())
    };
    let without = |format| NaiveDateTime::parse_from_str(text, format).ok();
    let naive = || without("%Y-%m-%dT%H:%M:%S%.f").or_else(|| without("%Y-%m-%d %H:%M:%S%.f"));
    let day = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
    with_offset().or_else(|| {
        let naive = naive().or_else(|| Some(day()?.and_time(NaiveTime::MIN)))?;
        Some(naive.and_utc())
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("2024-01-02T03:04:05", "2024-01-02T03:04:05+00:00")]
    #[case("2024-01-02T03:04:05.000006", "2024-01-02T03:04:05.000006+00:00")]
    #[case("2024-01-02T03:04:05+00:00", "2024-01-02T03:04:05+00:00")]
    #[case("2024-01-02T03:04:05.5+02:00", "2024-01-02T01:04:05.500+00:00")]
    #[case("2024-01-02T03:04:05Z", "2024-01-02T03:04:05+00:00")]
    #[case("2024-01-02T03:04:05.000006Z", "2024-01-02T03:04:05.000006+00:00")]
    #[case("2024-01-02T03:04:05-08:00", "2024-01-02T11:04:05+00:00")]
    #[case("2024-01-02 03:04:05.25", "2024-01-02T03:04:05.250+00:00")]
    #[case("2024-01-02", "2024-01-02T00:00:00+00:00")]
    fn dates_without_an_offset_are_utc(#[case] text: &str, #[case] expected: &str) {
        let found = instant("start_date", Some(text)).unwrap().unwrap();
        assert_eq!(found.to_rfc3339(), expected);
    }

    #[rstest]
    #[case("yesterday")]
    #[case("2024-13-01T00:00:00")]
    #[case("2024-01-02T03:04:05+")]
    #[case("99999999999999999999")]
    fn anything_else_is_refused(#[case] text: &str) {
        let error = instant("end_date", Some(text)).unwrap_err().to_string();
        assert!(
            error.starts_with("command.end_date: expected an ISO 8601 date"),
            "{error}"
        );
    }

    #[test]
    fn absent_dates_are_absent() {
        assert_eq!(instant("end_date", None).unwrap(), None);
        assert_eq!(instant("end_date", Some("")).unwrap(), None);
    }
}
