//! A range of event times, open or closed at either end, as scans and filters need it: exact in the column's own unit.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use chrono::{DateTime, Utc};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;

use super::operators::{all_of, binary};
use crate::model::{SourceRequest, TimeRange, TimeWindow};

/// Both ends inclusive; `None` is open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) start: Option<DateTime<Utc>>,
    pub(super) end: Option<DateTime<Utc>>,
}

impl From<TimeRange> for Bounds {
    fn from(range: TimeRange) -> Self {
        Self {
            start: Some(range.start),
            end: Some(range.end),
        }
    }
}

impl From<&SourceRequest> for Bounds {
    fn from(request: &SourceRequest) -> Self {
        Self {
            start: request.start,
            end: request.end,
        }
    }
}

impl Bounds {
    pub(super) fn is_bounded(self) -> bool {
        self.start.is_some() || self.end.is_some()
    }

    /// The least window of whole microseconds around the range.
    pub(super) fn window(self) -> TimeWindow {
        TimeWindow {
            start_us: self.start.map(|start| start.timestamp_micros()),
            end_us: self.end.map(ceil_us),
        }
    }

    /// That `instants`, of type `data_type`, lie in the range; `None` where nothing bounds them. Nulls do not lie in it.
    pub(super) fn predicate(
        self,
        instants: &Arc<dyn PhysicalExpr>,
        data_type: &DataType,
    ) -> Option<Arc<dyn PhysicalExpr>> {
        let compare = |operator, value| {
            let literal: Arc<dyn PhysicalExpr> = Arc::new(Literal::new(value));
            binary(Arc::clone(instants), operator, literal)
        };
        let start = self
            .start
            .map(|start| compare(Operator::GtEq, scalar(start, data_type, Rounding::Up)));
        let end = self
            .end
            .map(|end| compare(Operator::LtEq, scalar(end, data_type, Rounding::Down)));
        all_of(start.into_iter().chain(end))
    }
}

#[derive(Clone, Copy)]
enum Rounding {
    Up,
    Down,
}

/// An end of a range in the unit of a column. A start is rounded up and an end down, which changes no answer.
fn scalar(instant: DateTime<Utc>, data_type: &DataType, rounding: Rounding) -> ScalarValue {
    let (unit, zone) = match data_type {
        DataType::Timestamp(unit, zone) => (*unit, zone.clone()),
        _ => (TimeUnit::Microsecond, None),
    };
    let ns = i128::from(instant.timestamp()) * 1_000_000_000
        + i128::from(instant.timestamp_subsec_nanos());
    let value = |unit_ns: i128| {
        let rounded = match rounding {
            Rounding::Up => -(-ns).div_euclid(unit_ns),
            Rounding::Down => ns.div_euclid(unit_ns),
        };
        let clamped = rounded.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
        i64::try_from(clamped).ok()
    };
    match unit {
        TimeUnit::Second => ScalarValue::TimestampSecond(value(1_000_000_000), zone),
        TimeUnit::Millisecond => ScalarValue::TimestampMillisecond(value(1_000_000), zone),
        TimeUnit::Microsecond => ScalarValue::TimestampMicrosecond(value(1_000), zone),
        TimeUnit::Nanosecond => ScalarValue::TimestampNanosecond(value(1), zone),
    }
}

/// The first whole microsecond at or after an instant.
fn ceil_us(instant: DateTime<Utc>) -> i64 {
    let up = i64::from(!instant.timestamp_subsec_nanos().is_multiple_of(1_000));
    instant.timestamp_micros().saturating_add(up)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn at(ns: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_nanos(ns)
    }

    #[rstest]
    #[case(TimeUnit::Second, -1_500_000_001, (-1, -2))]
    #[case(TimeUnit::Millisecond, 1_500_001, (2, 1))]
    #[case(TimeUnit::Microsecond, -1_500, (-1, -2))]
    #[case(TimeUnit::Microsecond, 2_000, (2, 2))]
    #[case(TimeUnit::Nanosecond, -7, (-7, -7))]
    fn a_start_is_rounded_up_and_an_end_down(
        #[case] unit: TimeUnit,
        #[case] ns: i64,
        #[case] expected: (i64, i64),
    ) {
        let data_type = DataType::Timestamp(unit, None);
        let value = |rounding| {
            let text = scalar(at(ns), &data_type, rounding).to_string();
            text.parse::<i64>().unwrap()
        };
        assert_eq!((value(Rounding::Up), value(Rounding::Down)), expected);
    }

    #[test]
    fn the_window_of_a_scan_never_loses_a_row_of_the_range() {
        let bounds = Bounds {
            start: Some(at(-1)),
            end: Some(at(1)),
        };
        let window = bounds.window();
        assert_eq!((window.start_us, window.end_us), (Some(-1), Some(1)));
    }

    #[test]
    fn an_instant_beyond_a_columns_unit_is_its_extreme() {
        let far = DateTime::from_timestamp(20_000_000_000, 0).unwrap();
        let nanoseconds = DataType::Timestamp(TimeUnit::Nanosecond, None);
        let value = scalar(far, &nanoseconds, Rounding::Down);
        assert_eq!(
            value,
            ScalarValue::TimestampNanosecond(Some(i64::MAX), None)
        );
    }
}
