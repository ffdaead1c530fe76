"""On-demand feature views: refused by default, evaluated by the server's worker, or by the client's own store."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from drivers import DRIVER, STATS_SCHEMA, frame, plain, stats_source, view
from feast import FeatureService, FeatureStore, Field, RequestSource
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64
from feast_lab import FeastLab
from harness.frames import at

COLUMNS = ("driver_id", "event_timestamp", "bonus")


def fill(lab: FeastLab) -> FeastLab:
    """Apply a view and on-demand views over it."""
    stats = view("stats", stats_source(lab, "iceberg"), STATS_SCHEMA)
    request = RequestSource(name="request", schema=[Field(name="bonus", dtype=Int64)])

    @on_demand_feature_view(sources=[stats, request], schema=[Field(name="paid", dtype=Float64)])
    def paid(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"paid": inputs["trips"] * 2.0 + inputs["bonus"]})

    @on_demand_feature_view(
        sources=[stats], schema=[Field(name="half", dtype=Float64), Field(name="third", dtype=Float64)]
    )
    def parts(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"half": inputs["trips"] / 2, "third": inputs["trips"] / 3})

    @on_demand_feature_view(sources=[stats], schema=[Field(name="broken", dtype=Float64)])
    def breaks(inputs: pd.DataFrame) -> pd.DataFrame:
        if (inputs["trips"] > 5).any():  # Feast tries the code on a sample of ones.
            raise RuntimeError("no luck today")
        return pd.DataFrame({"broken": inputs["trips"] / 2})

    service = FeatureService(name="service", features=[stats[["conv_rate"]], parts])
    lab.store.apply([DRIVER, stats, paid, parts, breaks, service])
    return lab


def ask(store: FeatureStore, features: Any, **options: bool) -> pd.DataFrame:
    rows = frame((1, at(), 5), (9, at(), 6), (2, at(), 7), columns=COLUMNS)
    return store.get_historical_features(entity_df=rows, features=features, **options).to_df()


@pytest.fixture(scope="module")
def without(new_lab: Callable[..., FeastLab]) -> FeastLab:
    return fill(new_lab().start())


def test_refused_by_default_with_both_ways_out(without: FeastLab) -> None:
    with pytest.raises(Exception, match="paid") as refused:
        ask(without.store, ["stats:trips", "paid:paid"])
    assert "on_demand.python" in str(refused.value)
    assert "feast_murre.MurreOfflineStore" in str(refused.value)


def test_other_features_are_served_all_the_same(without: FeastLab) -> None:
    assert plain(ask(without.store, ["stats:trips"])["trips"]) == [30, None, 70]


@pytest.fixture(scope="module", params=["server", "client"])
def evaluating(request: pytest.FixtureRequest, new_lab: Callable[..., FeastLab]) -> FeastLab:
    """Evaluation by the server for Feast's own client, and by the client of this project."""
    if request.param == "server":
        return fill(new_lab().start(on_demand={"python": sys.executable}))
    return fill(new_lab(offline_store="feast_murre.MurreOfflineStore").start())


def test_outputs_follow_the_features(evaluating: FeastLab) -> None:
    found = ask(evaluating.store, ["stats:trips", "paid:paid"])
    assert list(found.columns)[:4] == [*COLUMNS, "trips"]
    # Feast's client asks for all inputs of an on-demand view, and they stay, as they do with Feast's own server.
    assert set(found.columns) == {*COLUMNS, "paid", *(field.name for field in STATS_SCHEMA)}
    assert plain(found["trips"]) == [30, None, 70]
    assert plain(found["paid"]) == [65.0, None, 147.0]


def test_only_what_is_asked_for(evaluating: FeastLab) -> None:
    found = ask(evaluating.store, ["stats:city", "parts:third"])
    assert "half" not in found.columns
    assert plain(found["third"])[0] == 10.0
    assert plain(found["city"]) == ["Rome", None, "Bern"]


def test_full_feature_names(evaluating: FeastLab) -> None:
    found = ask(evaluating.store, ["stats:trips", "parts:half"], full_feature_names=True)
    assert plain(found["parts__half"]) == [15.0, None, 35.0]
    assert plain(found["stats__trips"]) == [30, None, 70]


def test_feature_service(evaluating: FeastLab) -> None:
    found = ask(evaluating.store, evaluating.store.get_feature_service("service"))
    assert plain(found["half"]) == [15.0, None, 35.0]
    assert plain(found["conv_rate"]) == [0.3, None, 0.7]


def test_errors_of_the_code_arrive(evaluating: FeastLab) -> None:
    with pytest.raises(Exception, match="no luck today"):
        ask(evaluating.store, ["stats:trips", "breaks:broken"])
    assert plain(ask(evaluating.store, ["stats:trips", "parts:half"])["half"]) == [15.0, None, 35.0]
