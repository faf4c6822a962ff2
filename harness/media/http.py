"""Bytes of a public server: in pieces, from anywhere in a file, never waited for without end.

Proxies are those of the environment (http_proxy, no_proxy). Nothing here checks content: who asks knows the hash.
"""

from __future__ import annotations

import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version

from bringup.harness.media.store import MediaMissing, WrongContentError

STALL = 60.0
"""Host seconds in which at least LEAST bytes must come."""
LEAST = 4096
CHUNK = 1 << 18


class NotThere(MediaMissing):
    """The server has no such file."""


@dataclass(frozen=True)
class Body:
    """What a server sends of a file."""

    start: int
    """Where in the file it begins: 0 when the server does not send parts."""
    total: int | None
    """Bytes of the whole file, where the server says so."""
    chunks: Iterator[bytes]
    """Raises MediaMissing when no more comes for too long or the connection breaks. What a server cuts off without
    such a sign ends early."""


@contextmanager
def get(url: str, what: str, start: int = 0, stall: float | None = None) -> Iterator[Body]:
    """Asks for a file from byte `start` on. MediaMissing, about `what`: no such server, no such file (NotThere), no
    answer; WrongContentError: the file is no longer than `start`, or the part sent is another one."""
    stall = STALL if stall is None else stall
    headers = {"User-Agent": f"bringup/{version('bringup')}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        request = urllib.request.Request(url, headers=headers)  # noqa: S310, the scheme is checked where it comes from
        with urllib.request.urlopen(request, timeout=stall) as response:  # noqa: S310
            begin, total = _extent(url, what, response, start)
            yield Body(begin, total, _chunks(url, what, response, stall))
    except urllib.error.HTTPError as error:
        with error:
            if start and error.code == 416:
                raise WrongContentError(f"{what}: {url} has no more than {start} bytes") from None
            kind = NotThere if error.code in (404, 410) else MediaMissing
            raise kind(f"{what}: {url}: {error.code} {error.reason}") from None
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ValueError) as error:
        raise MediaMissing(f"{what}: {url}: {_reason(error)}") from None


def read(url: str, what: str, most: int, stall: float | None = None) -> bytes:
    """A whole small file; WrongContentError when it is larger than `most` bytes."""
    with get(url, what, stall=stall) as body:
        parts, size = [], 0
        for chunk in body.chunks:
            parts.append(chunk)
            size += len(chunk)
            if size > most:
                raise WrongContentError(f"{what}: {url} has more than {most} bytes")
        if body.total is not None and size < body.total:
            raise MediaMissing(f"{what}: {url}: the connection ended after {size} of {body.total} bytes")
        return b"".join(parts)


def _extent(url: str, what: str, response: http.client.HTTPResponse, start: int) -> tuple[int, int | None]:
    """Where the body begins, and how long the file is."""
    length = response.headers.get("Content-Length")
    size = int(length) if length is not None and length.isdecimal() else None
    if response.status != 206:
        return 0, size
    part = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if part is None or int(part[1]) != start:
        raise WrongContentError(f"{what}: {url}: the server sends another part than that from byte {start} on")
    return start, None if part[2] == "*" else int(part[2])


def _chunks(url: str, what: str, response: http.client.HTTPResponse, stall: float) -> Iterator[bytes]:
    begin, came = time.monotonic(), 0
    while True:
        try:
            chunk = response.read1(CHUNK)
        except (http.client.HTTPException, OSError) as error:
            raise MediaMissing(f"{what}: {url}: {_reason(error)}") from None
        if not chunk:
            return
        yield chunk
        came += len(chunk)
        now = time.monotonic()
        if now - begin >= stall:
            if came < LEAST:
                raise MediaMissing(f"{what}: {url}: {came} bytes in {now - begin:.0f} s")
            begin, came = now, 0


def _reason(error: Exception) -> str:
    """In one line."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return "no answer"
    text = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    return " ".join(text.split()) or type(cause).__name__
