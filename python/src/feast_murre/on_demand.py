"""On-demand feature views on rows in Arrow: which ones refs name, and their features as columns.

Used on the client by `MurreRetrievalJob` and on the server by `feast_murre.worker`.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.types import from_feast_to_pyarrow_type
from feast.utils import _parse_feature_ref

ENOUGH_ROWS = 64 * 1024
"""Rows that are worth a call: pandas has a fixed cost for each."""


def requested_views(
    refs: Sequence[str], joined: Sequence[str], project: str, registry: BaseRegistry
) -> list[OnDemandFeatureView]:
    """Return the on-demand feature views that `refs` name, by name or by a feature service's alias.

    `joined` are the names that feature views of the same request go by.
    """
    views = list(OnDemandFeatureView.get_requested_odfvs(refs, project, registry))
    known = {*joined, *(view.name for view in views)}
    for name in dict.fromkeys(view_of(ref) for ref in refs):
        if name not in known:
            views.extend(_aliased(name, project, registry))
    return views


def view_of(ref: str) -> str:
    """Return the name or alias in `view:feature`, without a version."""
    return _parse_feature_ref(ref)[0]


def names_of(view: OnDemandFeatureView) -> set[str]:
    """Return the names that refs may call the view by."""
    return {view.name, view.projection.name_to_use()}


def requested_features(view: OnDemandFeatureView, refs: Sequence[str]) -> list[str]:
    """Return the view's features among `refs`, in their order and once."""
    parsed = [_parse_feature_ref(ref) for ref in refs]
    return list(dict.fromkeys(feature for name, _, feature in parsed if name in names_of(view)))


def column_name(view: OnDemandFeatureView, feature: str, full_feature_names: bool) -> str:
    """Return a feature's name in results."""
    return f"{view.projection.name_to_use()}__{feature}" if full_feature_names else feature


def declared_field(view: OnDemandFeatureView, feature: str, full_feature_names: bool) -> pa.Field:
    """Return a feature's column as declared."""
    dtype = next(field.dtype for field in view.features if field.name == feature)
    return pa.field(column_name(view, feature, full_feature_names), from_feast_to_pyarrow_type(dtype))


def computed(
    view: OnDemandFeatureView, rows: pa.Table, features: Sequence[str], full_feature_names: bool
) -> list[pa.ChunkedArray]:
    """Run the view's code on joined rows and return the columns of `features`."""
    result = view.transform_arrow(rows, full_feature_names)
    names = [column_name(view, feature, full_feature_names) for feature in features]
    missing = [name for name in names if name not in result.column_names]
    if missing:
        raise KeyError(f"the code of `{view.name}` returned no {', '.join(missing)}")
    return [result.column(name) for name in names]


def gathered(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Join small batches to tables that are worth a call."""
    pending: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        pending.append(batch)
        rows += batch.num_rows
        if rows >= ENOUGH_ROWS:
            yield pa.Table.from_batches(pending, schema)
            pending, rows = [], 0
    if rows:
        yield pa.Table.from_batches(pending, schema)


def _aliased(alias: str, project: str, registry: BaseRegistry) -> list[OnDemandFeatureView]:
    views = {view.name: view for view in registry.list_on_demand_feature_views(project, allow_cache=True)}
    for service in registry.list_feature_services(project):
        for projection in service.feature_view_projections:
            if projection.name_alias == alias and projection.name in views:
                view: Any = views[projection.name].with_projection(projection)
                return [view]
    return []
