"""Long-lived calls to a Murre server: one DoExchange per set of features, kept open and used again.

A channel answers each batch of keys by one batch of features. It belongs to one thread from `take` to `give`; a channel
that failed is thrown away, and with it what else the failure may have hit. gRPC does not survive a fork, so everything
is closed before a process forks, and opened again on both sides when it is needed.
"""

import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl

_OPTIONS = [
    # A connection of our own, so that a new client does not wait for the back-off of an old one.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # A peer that is gone without a word is noticed.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
]
_SHUTDOWN_SECONDS = 0.1
_RETRY_SECONDS = 0.01
"""Pause before a cold read is asked for again."""

FAILURES = (pa.ArrowException, OSError, KeyError, EOFError)
"""What a call can fail with."""


@dataclass(frozen=True)
class Ask:
    """A batch of keys for one channel."""

    command: bytes
    keys: pa.RecordBatch
    shape: tuple[Any, ...]
    """What tells schemas of keys apart."""


class Channel:
    """One open call."""

    def __init__(self, client: fl.FlightClient, command: bytes, schema: pa.Schema) -> None:
        """Open it; the server speaks when it is first asked."""
        self.client: fl.FlightClient | None = client  # Dropping a client ends its calls.
        self._writer: fl.FlightStreamWriter | None
        self._reader: fl.FlightStreamReader | None
        self._writer, self._reader = client.do_exchange(fl.FlightDescriptor.for_command(command))
        self._writer.begin(schema)
        self.used = False
        self.deadline = 0.0
        self.is_overdue = False

    def send(self, keys: pa.RecordBatch) -> None:
        """Ask for keys."""
        self._writer.write_batch(keys)

    def receive(self) -> pa.RecordBatch:
        """Wait for the answer."""
        while True:
            try:
                chunk = self._reader.read_chunk()
            except StopIteration:
                raise EOFError("the server has ended the call") from None
            if chunk.data is not None:
                self.used = True
                return chunk.data

    def cancel(self) -> None:
        """Stop waiting, from any thread."""
        reader = self._reader
        if reader is not None:
            reader.cancel()

    def close(self) -> None:
        """End the call, whatever state it is in, and let go of the connection."""
        writer, reader = self._writer, self._reader
        self.client = self._writer = self._reader = None
        with suppress(*FAILURES):
            if reader is not None and writer is not None:
                reader.cancel()
                writer.close()


class Channels:
    """The channels to one server."""

    def __init__(self, location: str, idle: int, timeout: float) -> None:
        """Connect when first asked.

        Args:
            location: The server.
            idle: How many channels are kept open while nobody uses them.
            timeout: Seconds within which a read is answered, retries included.
        """
        self._location = location
        self._limit = idle
        self._timeout = timeout
        self._lock = threading.Lock()
        self._client: fl.FlightClient | None = None
        self._idle: OrderedDict[tuple[Any, ...], list[Channel]] = OrderedDict()
        self._idle_count = 0
        self._busy: set[Channel] = set()
        self._watched_by = 0
        _POOLS.add(self)

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._client is not None

    def client(self) -> fl.FlightClient:
        """The connection, which threads may share."""
        with self._lock:
            if self._client is None:
                self._client = fl.FlightClient(self._location, generic_options=_OPTIONS)
            return self._client

    def ask(self, asks: Sequence[Ask], keep: bool = True) -> list[pa.RecordBatch]:
        """Ask several channels at once, and wait for all; those that nobody will ask again are not kept.

        A read that the server gave up on time is asked for again, since what it has loaded stays loaded; a connection
        that broke is replaced once.
        """
        deadline = time.monotonic() + self._timeout
        replaced = False
        while True:
            channels: list[Channel] = []
            try:
                answers = self._ask(asks, channels, deadline)
            except FAILURES as error:
                overdue = any(channel.is_overdue for channel in channels)
                self._discard(channels)
                if overdue or (isinstance(error, fl.FlightTimedOutError) and time.monotonic() >= deadline):
                    raise self._late() from error
                if isinstance(error, fl.FlightTimedOutError):
                    time.sleep(_RETRY_SECONDS)
                elif not replaced and _may_be_stale(error, channels):
                    replaced = True
                    self.close()
                else:
                    raise
            except BaseException:
                # Interrupted: an answer may still be under way on any of them.
                self._discard(channels)
                raise
            else:
                if keep:
                    self._give(asks, channels)
                else:
                    self._discard(channels)
                return answers

    def close(self) -> None:
        """Close what is idle; the next read connects anew."""
        with self._lock:
            idle = [channel for channels in self._idle.values() for channel in channels]
            self._idle.clear()
            self._idle_count = 0
            self._client = None
        for channel in idle:
            channel.close()

    def _ask(self, asks: Sequence[Ask], channels: list[Channel], deadline: float) -> list[pa.RecordBatch]:
        for ask in asks:
            channel = self._take(ask)
            channels.append(channel)
            channel.deadline = deadline
            self._busy.add(channel)
            channel.send(ask.keys)
        return [channel.receive() for channel in channels]

    def _take(self, ask: Ask) -> Channel:
        key = (ask.command, ask.shape)
        with self._lock:
            idle = self._idle.get(key)
            if idle:
                self._idle_count -= 1
                return idle.pop()
        self._watch()
        return Channel(self.client(), ask.command, ask.keys.schema)

    def _give(self, asks: Sequence[Ask], channels: Sequence[Channel]) -> None:
        self._busy.difference_update(channels)
        surplus = []
        with self._lock:
            for ask, channel in zip(asks, channels, strict=True):
                if channel.client is not self._client:
                    # Closed while it was in use.
                    surplus.append(channel)
                    continue
                key = (ask.command, ask.shape)
                self._idle.setdefault(key, []).append(channel)
                self._idle.move_to_end(key)
                self._idle_count += 1
            while self._idle_count > self._limit:
                surplus.append(self._oldest())
        for channel in surplus:
            channel.close()

    def _oldest(self) -> Channel:
        """An idle channel of the features that were asked for least lately."""
        while not next(iter(self._idle.values())):
            self._idle.popitem(last=False)
        self._idle_count -= 1
        return next(iter(self._idle.values())).pop(0)

    def _discard(self, channels: Sequence[Channel]) -> None:
        self._busy.difference_update(channels)
        for channel in channels:
            channel.close()

    def _late(self) -> fl.FlightTimedOutError:
        return fl.FlightTimedOutError(f"{self._location} did not answer within {self._timeout:g} s (option `timeout`)")

    def _watch(self) -> None:
        """Have somebody look for reads that take too long: gRPC's own deadlines are those of whole calls."""
        with self._lock:
            if self._watched_by != os.getpid():
                self._watched_by = os.getpid()
                interval = min(1.0, self._timeout / 4)
                threading.Thread(target=_cancel_late, args=(weakref.ref(self), interval), daemon=True).start()

    def __getstate__(self) -> dict[str, Any]:
        """Refuse to be sent to another process."""
        raise TypeError("connections cannot be pickled")


_POOLS: "weakref.WeakSet[Channels]" = weakref.WeakSet()


def _may_be_stale(error: BaseException, channels: Sequence[Channel]) -> bool:
    """Whether another try may do better: the connection is at fault, or a channel that the server has tired of."""
    broken = isinstance(error, (fl.FlightUnavailableError, fl.FlightCancelledError, EOFError))
    return broken or any(channel.used for channel in channels)


def _cancel_late(pool: "weakref.ref[Channels]", interval: float) -> None:
    while (channels := pool()) is not None:
        now = time.monotonic()
        for channel in list(channels._busy):
            if channel.deadline < now:
                channel.is_overdue = True
                channel.cancel()
        del channels
        time.sleep(interval)


def close_all() -> None:
    """Close what this process has open; what is used afterwards opens again."""
    for pool in list(_POOLS):
        pool.close()


def _before_fork() -> None:
    if any(pool.is_open for pool in list(_POOLS)):
        close_all()
        # gRPC ends its threads in its own time.
        time.sleep(_SHUTDOWN_SECONDS)


def _start_over() -> None:
    """In a forked child: other threads' locks and calls are not its own."""
    for pool in list(_POOLS):
        pool._lock = threading.Lock()
        pool._busy = set()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_start_over)
