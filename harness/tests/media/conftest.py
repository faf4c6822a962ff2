"""A small HTTP server with the faults of big ones."""

import http.server
import re
import threading
from collections.abc import Iterator

import pytest


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`, by path. What goes wrong is set by path."""

    daemon_threads = True

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cut: dict[str, int] = {}
        """Bytes after which a connection ends, whatever was announced."""
        self.mute: dict[str, int] = {}
        """Bytes after which nothing more comes, on a connection that stays."""
        self.whole: set[str] = set()
        """Is sent from the beginning, whatever part was asked for."""
        self.status: dict[str, int] = {}
        self.asked: list[tuple[str, str]] = []
        """Path and Range of every request."""
        self.ended = threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)

    def url(self, path: str = "") -> str:
        """Of a path, or of the server."""
        return f"http://127.0.0.1:{self.server_port}{path}"

    def paths(self) -> list[str]:
        """That were asked for."""
        return [path for path, _ in self.asked]


class Handler(http.server.BaseHTTPRequestHandler):
    """GET only."""

    server: Server

    def do_GET(self) -> None:
        server, path = self.server, self.path
        server.asked.append((path, self.headers.get("Range", "")))
        data = server.files.get(path)
        if path in server.status or data is None:
            self.send_error(server.status.get(path, 404))
            return
        start = 0
        if (part := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))) and path not in server.whole:
            start = int(part[1])
            if start >= len(data):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        data = data[start:]
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: min(server.cut.get(path, len(data)), server.mute.get(path, len(data)))])
        if path in server.mute:
            self.wfile.flush()
            server.ended.wait(30)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """An HTTP server on this machine, and no proxy before it."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.ended.set()
        server.shutdown()
        thread.join()
