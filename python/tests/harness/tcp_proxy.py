"""A proxy between Murre and a service that speaks no HTTP, with those faults that any connection can have."""

from __future__ import annotations

import socket
import socketserver
import threading

from harness.fault_proxy import Delay, Drop, Proxy, Request

CHUNK_BYTES = 65_536
# Faults see no requests here, only that bytes come.
BYTES = Request("", "", {}, b"")


class _Handler(socketserver.BaseRequestHandler):
    proxy: TcpProxy

    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.proxy.upstream)) as upstream:
            back = threading.Thread(target=self.pump, args=(upstream, self.request), daemon=True)
            back.start()
            self.pump(self.request, upstream)
            back.join()

    def pump(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while chunk := source.recv(CHUNK_BYTES):
                fault = self.proxy.fault(BYTES)
                if isinstance(fault, Delay):
                    self.proxy.mended.wait(fault.seconds)
                if isinstance(fault, Drop):
                    break
                target.sendall(chunk)
        except OSError:
            pass  # Either end has gone, and so does the other.
        for end in (source, target):
            end.close()


class TcpProxy(Proxy):
    """Listens on a port of its own for the service at `upstream`."""

    def serve(self) -> socketserver.TCPServer:
        """A server of this kind of connection."""
        return _Server(("127.0.0.1", self.port), type("Handler", (_Handler,), {"proxy": self}))


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
