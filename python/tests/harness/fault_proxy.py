"""An HTTP proxy between Murre and one service, whose faults are switched while both run."""

from __future__ import annotations

import http.client
import socket
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

UPSTREAM_SECONDS = 60
# What concerns one connection only, or is set anew.
HOP_HEADERS = {"connection", "transfer-encoding", "content-length", "keep-alive"}


@dataclass(frozen=True)
class Request:
    """What a fault decides by."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """An answer in place of the service's."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"


@dataclass(frozen=True)
class Delay:
    """Seconds before the request goes on; a proxy that is mended goes on at once."""

    seconds: float


class Drop:
    """The connection is closed without an answer."""


class Cut:
    """The answer ends in its middle."""


class Lose:
    """The service does what it is asked, and nobody hears of it."""


@dataclass(frozen=True)
class Late:
    """The connection is closed without an answer, and seconds later the service does what it was asked."""

    seconds: float


@dataclass(frozen=True)
class Slow:
    """The service does what it is asked, and its answer comes seconds later."""

    seconds: float


@dataclass(frozen=True)
class Instead:
    """The service does what it is asked, and something else is answered."""

    answer: Answer


Fault = Answer | Delay | Drop | Cut | Lose | Late | Slow | Instead | None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultProxy

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        names = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, names, body)
        self.proxy.seen.append(request)
        fault = self.proxy.fault(request)
        if isinstance(fault, Late):
            self.connection.shutdown(socket.SHUT_RDWR)
        if isinstance(fault, Delay | Late):
            self.proxy.mended.wait(fault.seconds)
        if isinstance(fault, Answer):
            self.answer(fault)
        elif isinstance(fault, Drop):
            self.close_connection = True
        else:
            self.forward(request, fault)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815

    def forward(self, request: Request, fault: Fault) -> None:
        upstream = http.client.HTTPConnection("127.0.0.1", self.proxy.upstream, timeout=UPSTREAM_SECONDS)
        try:
            upstream.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                upstream.putheader(name, value)
            upstream.endheaders(request.body)
            answer = upstream.getresponse()
            body = self.proxy.rewrite(request, answer.read())
        except (OSError, http.client.HTTPException):
            self.close_connection = True
            return
        finally:
            upstream.close()
        if isinstance(fault, Slow):
            self.proxy.mended.wait(fault.seconds)
        if isinstance(fault, Lose | Late):
            self.close_connection = True
        elif isinstance(fault, Instead):
            self.answer(fault.answer)
        else:
            self.reply(answer.status, dict(answer.getheaders()), body, isinstance(fault, Cut))

    def answer(self, answer: Answer) -> None:
        self.reply(answer.status, {"Content-Type": answer.content_type}, answer.body)

    def reply(self, status: int, headers: dict[str, str], body: bytes, cut: bool = False) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in HOP_HEADERS:
                self.send_header(name, value)
        head_length = {name.lower(): value for name, value in headers.items()}.get("content-length", "0")
        self.send_header("Content-Length", head_length if self.command == "HEAD" else str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection |= cut

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: what matters is in `seen`."""


class Proxy(ABC):
    """Listens on a port of its own for the service at `upstream`, and fails when it is told to."""

    def __init__(self, upstream: int) -> None:
        """Start without faults."""
        self.upstream = upstream
        self.seen: list[Request] = []
        self.mended = threading.Event()
        self.fault: Callable[[Request], Fault] = lambda _: None
        self.port = 0
        self.listen()

    @abstractmethod
    def serve(self) -> TCPServer:
        """A server of this kind of connection."""

    def listen(self) -> None:
        """Accept connections, at the same port as before."""
        self.server = self.serve()
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Refuse connections from now on."""
        self.server.shutdown()
        self.server.server_close()

    @contextmanager
    def failing(self, fault: Callable[[Request], Fault]) -> Iterator[None]:
        """Apply a fault while the block runs."""
        self.mended.clear()
        self.fault = fault
        try:
            yield
        finally:
            self.fault = lambda _: None
            self.mended.set()

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Refuse connections, and drop those there are, while the block runs."""
        self.close()
        try:
            with self.failing(lambda _: Drop()):
                yield
        finally:
            self.listen()


class FaultProxy(Proxy):
    """A proxy of HTTP: `fault` decides about each request, `rewrite` changes answers, `seen` has all requests."""

    def __init__(self, upstream: int) -> None:
        """Start without faults."""
        self.rewrite: Callable[[Request, bytes], bytes] = lambda _, body: body
        super().__init__(upstream)

    def serve(self) -> TCPServer:
        """A server of this kind of connection."""
        return _Server(("127.0.0.1", self.port), type("Handler", (_Handler,), {"proxy": self}))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # A client that gave up is nothing to report.
            super().handle_error(request, client_address)
