"""The feature views of the point-in-time benchmark: their keys, features, types and sizes.

Everything that makes data, asks for it or checks it goes by these definitions. A request for one view asks for the
first, a request for three for all of them, whose keys differ.
"""

from __future__ import annotations

from dataclasses import dataclass

TTL_DAYS = 7
TTL_US = TTL_DAYS * 86_400_000_000
SQL_TYPES = {"d": "DOUBLE", "f": "FLOAT", "l": "BIGINT", "i": "INTEGER", "s": "VARCHAR"}


def kind_of(feature: str) -> str:
    """The letter that says a feature's type: d, f, l, i or s."""
    return feature.rpartition("_")[2][0]


@dataclass(frozen=True)
class View:
    """One feature view: its table has one row for `share` rows of the largest table."""

    name: str
    key: str
    features: tuple[str, ...]
    share: int = 1
    text_key: bool = False

    @property
    def number(self) -> int:
        """The place among all views; part of the seeds."""
        return VIEWS.index(self)

    @property
    def key_type(self) -> str:
        """SQL type of the join key."""
        return "VARCHAR" if self.text_key else "BIGINT"

    @property
    def columns(self) -> list[str]:
        """Every column of the table."""
        return [self.key, "event_timestamp", "created", *self.features]


VIEWS = (
    View("driver_stats", "driver_id", ("d1", "d2", "d3", "d4", "f1", "f2", "l1", "i1", "s1", "s2")),
    View(
        "customer_stats", "customer_id", ("customer_d1", "customer_d2", "customer_f1", "customer_l1", "customer_s1"), 10
    ),
    View("city_stats", "city_id", ("city_d1", "city_f1", "city_i1", "city_s2"), 50, text_key=True),
)

# A view and the data files of its table.
Source = tuple[View, list[str]]


def features_of(views: list[View]) -> list[str]:
    """The features of a request, in order."""
    return [feature for view in views for feature in view.features]


def typed_columns(views: list[View]) -> list[str]:
    """SQL expressions of an answer's columns in types that all engines can be compared in."""
    keys = [f"{view.key}::{view.key_type}" for view in views]
    features = [f"{name}::{SQL_TYPES[kind_of(name)]}" for name in features_of(views)]
    return [*keys, "epoch_us(event_timestamp::TIMESTAMPTZ)", *features]
