"""A proxy between Murre and a service that speaks no HTTP, with those faults that any connection can have."""

from __future__ import annotations

import socket
import socketserver
import threading
from contextlib import suppress

from harness.fault_proxy import Answer, Delay, Drop, Fault, Late, Proxy, Request

CHUNK_BYTES = 65_536
# Faults see no requests here, but the bytes that come: which way they go, and over which connection.
ASKED, ANSWERED = "ASKED", "ANSWERED"


class _Handler(socketserver.BaseRequestHandler):
    proxy: TcpProxy

    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.proxy.upstream)) as upstream:
            back = threading.Thread(target=self.pump, args=(upstream, self.request, ANSWERED), daemon=True)
            back.start()
            self.pump(self.request, upstream, ASKED)
            back.join()

    def pump(self, source: socket.socket, target: socket.socket, way: str) -> None:
        try:
            while chunk := source.recv(CHUNK_BYTES):
                fault = self.proxy.fault(Request(way, str(self.client_address[1]), {}, chunk))
                if not self.passes(fault, source):
                    break
                target.sendall(fault.body if isinstance(fault, Answer) else chunk)
                if isinstance(fault, Answer | Late):
                    break
        except OSError:
            pass  # Either end has gone, and so does the other.
        for end in (source, target):
            hang_up(end)

    def passes(self, fault: Fault, source: socket.socket) -> bool:
        if isinstance(fault, Late):
            hang_up(source)
        if isinstance(fault, Delay | Late):
            self.proxy.mended.wait(fault.seconds)
        return not isinstance(fault, Drop)


def hang_up(end: socket.socket) -> None:
    """Say that nothing more comes and nothing more is read, also to a thread that is reading."""
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


class TcpProxy(Proxy):
    """Listens on a port of its own for the service at `upstream`."""

    def serve(self) -> socketserver.TCPServer:
        """A server of this kind of connection."""
        return _Server(("127.0.0.1", self.port), type("Handler", (_Handler,), {"proxy": self}))


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
