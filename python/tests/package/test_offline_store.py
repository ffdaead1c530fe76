"""The offline store against a server that only keeps and answers."""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.flight as fl
import pyarrow.parquet as pq
import pytest
from fake_murre import FakeMurre
from feast import FeatureService, FeatureStore, FeatureView, FileSource, RepoConfig
from feast.errors import FeatureViewNotFoundException
from feast.feature_logging import FeatureServiceLoggingSource
from pydantic import ValidationError
from repository import DRIVER, SOURCE, TRIPS, config_of

from feast_murre import MurreOfflineStore, MurreOfflineStoreConfig, MurreRetrievalJob, SavedDatasetIcebergStorage

ROWS = 200_000


def entities(rows: int = 3) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "driver_id": range(rows),
            "event_timestamp": pd.Timestamp("2026-01-01", tz="UTC"),
            "bonus": 0.5,
        }
    )


def joined(command: dict[str, Any], table: pa.Table) -> pa.Table:
    """Answer as the server would: every requested feature is the row's number."""
    numbers = pa.array([float(i) for i in range(table.num_rows)])
    for ref in command["feature_refs"]:
        view, feature = ref.split(":")
        table = table.append_column(f"{view}__{feature}" if command["full_feature_names"] else feature, numbers)
    return table.replace_schema_metadata()


def ask(store: FeatureStore, features: Any, rows: int = 3, full: bool = False) -> MurreRetrievalJob:
    job = store.get_historical_features(entities(rows), features, full_feature_names=full)
    assert isinstance(job, MurreRetrievalJob)
    return job


def test_the_configuration_is_that_of_the_remote_store_and_more(tmp_path: Path) -> None:
    config = config_of(8815, tmp_path, scheme="https", cert="ca.pem", connection_retries=0, progress=True)
    own = config.offline_store
    assert isinstance(own, MurreOfflineStoreConfig)
    assert (own.scheme, own.cert, own.connection_retries, own.progress) == ("https", "ca.pem", 0, True)
    with pytest.raises(ValidationError):
        MurreOfflineStoreConfig(host="h", port="no")


def test_a_read_is_one_call_with_batches_and_maps(murre: FakeMurre, store: FeatureStore) -> None:
    murre.answer = joined
    view = TRIPS.with_name("mine").with_join_key_map({"driver_id": "courier_id"})
    store.apply(FeatureService(name="mapped", features=[view[["fare"]]]))
    store.get_historical_features(
        entities(ROWS).rename(columns={"driver_id": "courier_id"}), store.get_feature_service("mapped")
    ).to_df()
    (call,) = murre.of_api("get_historical_features")
    assert call.rpc == "exchange"
    assert call.command["name_aliases"] == ["mine"]
    assert call.command["join_key_maps"] == [{"driver_id": "courier_id"}]
    assert sum(call.batches) == ROWS
    assert max(call.batches) == 64 * 1024


def test_on_demand_features_are_computed_here(murre: FakeMurre, store: FeatureStore) -> None:
    murre.answer = joined
    table = ask(store, ["trips:tip", "totals:total"]).to_arrow()
    (call,) = murre.of_api("get_historical_features")
    assert set(call.command["feature_refs"]) == {"trips:tip", "trips:fare"}
    assert table.column("total").to_pylist() == [0.5, 1.5, 2.5]
    assert "doubled" not in table.column_names
    frame = ask(store, ["totals:doubled"], full=True).to_df()
    assert frame["totals__doubled"].tolist() == [1.0, 3.0, 5.0]


def test_services_with_on_demand_views(murre: FakeMurre, store: FeatureStore) -> None:
    murre.answer = joined
    table = ask(store, store.get_feature_service("all")).to_arrow()
    assert {"fare", "total", "doubled"} <= set(table.column_names)


def test_rows_can_be_streamed(murre: FakeMurre, store: FeatureStore) -> None:
    murre.answer = joined
    seen: list[int] = []
    reader = ask(store, ["trips:fare"], rows=5000).to_reader(seen.append)
    assert isinstance(reader, pa.RecordBatchReader)
    assert sum(batch.num_rows for batch in reader) == 5000
    assert seen == [1000] * 5


def test_streams_have_on_demand_features_as_declared(murre: FakeMurre, store: FeatureStore) -> None:
    murre.answer = joined
    job = ask(store, ["totals:doubled", "totals:total"], rows=ROWS)
    batches = list(job.to_arrow_batches())
    assert batches[0].schema.field("doubled").type == pa.int64()
    streamed = pa.Table.from_batches(batches)
    assert streamed.num_rows == ROWS
    assert streamed.column("total").to_pylist() == job.to_arrow().column("total").to_pylist()
    assert 1 < len(batches) < ROWS / 1000


def test_a_stream_may_be_left_early(murre: FakeMurre, store: FeatureStore) -> None:
    murre.answer = joined
    batches = ask(store, ["trips:fare"], rows=50_000).to_arrow_batches()
    assert next(batches).num_rows == 1000
    del batches
    assert ask(store, ["trips:fare"]).to_arrow().num_rows == 3


def test_progress_of_a_read(murre: FakeMurre, store: FeatureStore, capsys: pytest.CaptureFixture[str]) -> None:
    murre.answer = joined
    job = ask(store, ["trips:fare"], rows=2500)
    seen: list[int] = []
    job.progress = seen.append
    job.to_df()
    assert seen == [1000, 1000, 500]
    assert capsys.readouterr().err == ""


def test_the_environment_turns_a_bar_on(
    murre: FakeMurre, store: FeatureStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    murre.answer = joined
    monkeypatch.setenv("FEAST_MURRE_PROGRESS", "1")
    ask(store, ["trips:fare"]).to_df()
    assert "get_historical_features" in capsys.readouterr().err


def test_errors_are_feasts(murre: FakeMurre, store: FeatureStore) -> None:
    def fail(command: dict[str, Any], table: pa.Table) -> pa.Table:
        detail = FeatureViewNotFoundException("trips").to_error_detail()
        raise pa.flight.FlightServerError(f"Flight error: {detail}")

    murre.answer = fail
    with pytest.raises(FeatureViewNotFoundException):
        ask(store, ["trips:fare"]).to_df()
    with pytest.raises(FeatureViewNotFoundException):
        ask(store, ["trips:fare"]).to_reader()
    with pytest.raises(FeatureViewNotFoundException):
        store.write_to_offline_store("trips", written(3))


def test_the_code_of_a_view_may_fail(murre: FakeMurre, store: FeatureStore) -> None:
    murre.answer = joined
    with pytest.raises(ValueError, match="no xxx"):
        ask(store, ["failing:never"]).to_df()


def test_entities_may_be_sql_or_dates(murre: FakeMurre, store: FeatureStore) -> None:
    murre.answer = joined
    store.get_historical_features("SELECT 1", ["trips:fare"]).to_arrow()
    start, end = pd.Timestamp("2026-01-01"), pd.Timestamp("2026-01-02")
    store.get_historical_features(None, ["trips:fare"], start_date=start, end_date=end).to_arrow()
    sql, dates = murre.of_api("get_historical_features")
    assert sql.command["entity_df_sql"] == "SELECT 1"
    assert sql.table.column_names == ["key"]
    assert dates.command["start_date"] == "2026-01-01T00:00:00"
    assert dates.command["end_date"] == "2026-01-02T00:00:00"


def written(rows: int) -> pd.DataFrame:
    frame = entities(rows).drop(columns="bonus")
    return frame.assign(fare=1.0, tip=2.0)


def test_writes_tell_their_progress(murre: FakeMurre, store: FeatureStore) -> None:
    seen: list[int] = []
    table = pa.Table.from_pandas(written(100_000))
    MurreOfflineStore.offline_write_batch(store.config, TRIPS, table, seen.append)
    (call,) = murre.of_api("offline_write_batch")
    assert call.rpc == "put"
    assert call.command["progress"] is None
    assert call.batches == seen == [65_536, 34_464]


@pytest.mark.parametrize("lost", [fl.FlightUnavailableError("away"), fl.FlightCancelledError("late")])
def test_a_write_of_unclear_outcome_is_sent_again_under_its_name(
    murre: FakeMurre, store: FeatureStore, lost: Exception
) -> None:
    names = []
    for _ in range(2):
        murre.failures = [lost]
        seen: list[int] = []
        table = pa.Table.from_pandas(written(3))
        MurreOfflineStore.offline_write_batch(store.config, TRIPS, table, seen.append)
        first, again = murre.of_api("offline_write_batch")[-2:]
        assert first.table == again.table
        assert first.command["idempotency_key"] == again.command["idempotency_key"]
        assert first.command["command_id"] != again.command["command_id"]
        assert seen == [3]
        names.append(first.command["idempotency_key"])
    assert names[0] != names[1]


def test_a_refused_write_is_not_sent_again(murre: FakeMurre, store: FeatureStore) -> None:
    murre.failures = [ValueError("no"), ValueError("again")]
    with pytest.raises(pa.ArrowInvalid, match="no"):
        MurreOfflineStore.offline_write_batch(store.config, TRIPS, pa.Table.from_pandas(written(1)), None)
    assert len(murre.failures) == 1


def test_files_do_not_know_what_was_written(murre: FakeMurre, store: FeatureStore) -> None:
    files = FileSource(path="trips.parquet", timestamp_field="event_timestamp")
    view = FeatureView(name="trips", entities=[DRIVER], schema=TRIPS.schema, source=files)
    murre.failures = [fl.FlightUnavailableError("away")]
    with pytest.raises(fl.FlightUnavailableError):
        MurreOfflineStore.offline_write_batch(store.config, view, pa.Table.from_pandas(written(1)), None)
    (call,) = murre.of_api("offline_write_batch")
    assert "idempotency_key" not in call.command


def test_logs_are_sent_from_files_in_batches(murre: FakeMurre, store: FeatureStore, tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    for part in range(2):
        pq.write_table(pa.table({"x": pa.array(range(70_000))}), folder / f"{part}.parquet")
    source = FeatureServiceLoggingSource(store.get_feature_service("all"), "demo")
    MurreOfflineStore.write_logged_features(store.config, folder, source, None, store.registry)
    MurreOfflineStore.write_logged_features(store.config, pa.table({"x": [1]}), source, None, store.registry)
    files, table = murre.of_api("write_logged_features")
    assert files.command["feature_service_name"] == "all"
    assert files.command["idempotency_key"] != table.command["idempotency_key"]
    assert sum(files.batches) == 140_000
    assert max(files.batches) <= 65_536
    assert table.table.to_pydict() == {"x": [1]}


def test_datasets_are_saved_by_the_server(murre: FakeMurre, store: FeatureStore) -> None:
    storage = SavedDatasetIcebergStorage(catalog="lake", namespace="saved", table="d")
    ask(store, ["totals:total"]).persist(storage, allow_overwrite=True, timeout=7)
    (call,) = murre.of_api("persist")
    command = call.command
    assert command["retrieve_func"] == "get_historical_features"
    assert (command["data_source_name"], command["allow_overwrite"], command["timeout"]) == ("lake.saved.d", True, 7)
    assert "totals:total" in command["feature_refs"]
    assert "customOptions" in command["data_source_proto"]
    assert call.table.num_rows == 3


def test_columns_come_from_the_server(murre: FakeMurre, store: FeatureStore) -> None:
    murre.answer = lambda command, table: pa.table({"name": ["fare"], "type": ["double"]})
    assert list(SOURCE.get_table_column_names_and_types(store.config)) == [("fare", "double")]
    SOURCE.validate(store.config)
    (call,) = murre.of_api("validate_data_source")
    assert "lake.demo.trips" in call.command["data_source_proto"]


def test_sources_say_which_stores_can_read_them(tmp_path: Path) -> None:
    config = RepoConfig(project="p", provider="local", registry=str(tmp_path / "r"), offline_store={"type": "dask"})
    with pytest.raises(Exception, match="IcebergSource"):
        SOURCE.validate(config)
