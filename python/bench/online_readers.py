"""Clients that read online features, one way each, and the process that one of them is measured in.

As a script it takes the name of a reader and the places (JSON), connects, says `ready`, and then answers each line of
JSON on its input, {"batch", "seconds", "seed", "entities"}, with the microseconds of every request that it made.
"""

from __future__ import annotations

import itertools
import json
import random
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from online_data import FEATURES, KEY, PROJECT, VIEW, refs

Places = dict[str, Any]
Read = Callable[[list[int]], Any]
KEY_LISTS = 256


def redis_raw(places: Places) -> Read:
    """Pipelined HMGET of the hashes that Feast wrote; the answer is left as bytes."""
    from feast.infra.key_encoding_utils import serialize_entity_key
    from feast.infra.online_stores.helpers import _mmh3
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value
    from redis import Redis

    client = Redis(port=places["redis_port"])
    some = EntityKey(join_keys=[KEY], entity_values=[Value(int64_val=0)])
    prefix, suffix = serialize_entity_key(some, entity_key_serialization_version=3)[:-8], PROJECT.encode()
    fields = [*(_mmh3(f"{VIEW}:{name}") for name in FEATURES), f"_ts:{VIEW}"]

    def read(keys: list[int]) -> Any:
        with client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hmget(prefix + struct.pack("<q", key) + suffix, fields)
            return pipe.execute()

    return read


def feast_sdk(repo: str) -> Read:
    """Feast's SDK over the online store of a repository; the answer is Feast's response object."""
    from feast import FeatureStore

    store, features = FeatureStore(repo_path=repo), refs()
    return lambda keys: store.get_online_features(features=features, entity_rows={KEY: keys})


def murre_doget(places: Places, view: str = VIEW) -> Read:
    """One DoGet with the JSON request as its ticket; the answer is a pyarrow table."""
    from pyarrow import flight

    client, features = flight.connect(places["murre"]), refs(view)

    def read(keys: list[int]) -> pa.Table:
        request = {"project": PROJECT, "online": {"features": features, "entity_keys": {KEY: keys}}}
        return client.do_get(flight.Ticket(json.dumps(request))).read_all()

    return read


def murre_exchange(places: Places) -> Read:
    """One batch up and one down on a DoExchange that stays open."""
    from pyarrow import flight

    request = {"project": PROJECT, "online": {"features": refs()}}
    descriptor = flight.FlightDescriptor.for_command(json.dumps(request))
    client = flight.connect(places["murre"])
    writer, reader = client.do_exchange(descriptor)
    schema = pa.schema([(KEY, pa.int64())])
    writer.begin(schema)

    def read(keys: list[int], _alive: Any = client) -> pa.RecordBatch:
        writer.write_batch(pa.record_batch([pa.array(keys, pa.int64())], schema=schema))
        return reader.read_chunk().data

    return read


READERS: dict[str, Callable[[Places], Read]] = {
    "redis_raw": redis_raw,
    "feast_redis": lambda places: feast_sdk(places["feast_redis"]),
    "feast_sqlite": lambda places: feast_sdk(places["feast_sqlite"]),
    "murre_doget": murre_doget,
    "murre_exchange": murre_exchange,
    "feast_murre": lambda places: feast_sdk(places["feast_murre"]),
}


def values(name: str, answer: Any) -> dict[str, list[Any]]:
    """An answer's features as lists, to compare answers; raw Redis is not decoded."""
    if name.startswith("feast_"):
        answer = answer.to_dict()
        return {feature: answer[feature] for feature in FEATURES}
    return {feature: answer.column(feature).to_pylist() for feature in FEATURES}


def measure(read: Read, batch: int, seconds: float, seed: int, entities: int) -> list[int]:
    """Microseconds of each request for random keys, for so many seconds and at least ten requests."""
    picked = random.Random(seed)
    lists = [[picked.randrange(entities) for _ in range(batch)] for _ in range(KEY_LISTS)]
    took: list[int] = []
    read(lists[-1])
    end = time.perf_counter() + seconds
    for keys in itertools.cycle(lists):
        start = time.perf_counter()
        read(keys)
        stop = time.perf_counter()
        took.append(int((stop - start) * 1e6))
        if stop >= end and len(took) >= 10:
            return took
    raise AssertionError("there are always more keys")


def main() -> None:
    """Connect, then measure as told line by line."""
    out, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    read = READERS[sys.argv[1]](json.loads(sys.argv[2]))
    print("ready", file=out, flush=True)
    for line in sys.stdin:
        print(json.dumps(measure(read, **json.loads(line))), file=out, flush=True)


if __name__ == "__main__":
    main()
