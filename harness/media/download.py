"""Files of public servers whose sha256 the guest states: fetched once, and where they broke off, on from there.

What is there of a file that is not whole yet is `<root>/partial/<sha256>`.
"""

from __future__ import annotations

from typing import BinaryIO

from bringup.guests.definition import Download
from bringup.harness.media import http
from bringup.harness.media.progress import Progress
from bringup.harness.media.store import MediaMissing, Medium, Provenance, Store, WrongContentError, disk_errors

TRIES = 3
"""Connections in a row that may break without having brought anything new."""


def fetch(wanted: Download, store: Store, progress: Progress, *, offline: bool = False) -> Medium:
    """The file: out of the store, or from its server unless `offline`.

    MediaMissing: the server is not there, has no such file, or stops sending (what came is kept, and the next fetch
    goes on from it). WrongContentError: other content or another size than the guest states; nothing of it is kept.
    MediaError: the disk is full.
    """
    name = wanted.url.rpartition("/")[2] or wanted.url
    if medium := store.get(wanted.sha256):
        return medium
    if offline:
        raise MediaMissing(f"{name}: was never fetched, and offline nothing is")
    with store.lock(f"download-{wanted.sha256}"):
        if medium := store.get(wanted.sha256):
            return medium  # another process was fetching it
        with store.partial(wanted.sha256, name) as file:
            _complete(wanted, name, file, progress)
            provenance = Provenance(name, f"{wanted.url} ({wanted.source})", wanted.licence)
            medium = store.take(file, provenance, expected=wanted.sha256)
            store.bind(f"downloads/{wanted.sha256}", medium)
            return medium


def _complete(wanted: Download, name: str, file: BinaryIO, progress: Progress) -> None:
    """Fetches what is missing of the file."""
    tries = TRIES
    while (size := file.seek(0, 2)) < wanted.size:
        progress.update(name, 100 * size / wanted.size)
        try:
            _more(wanted, name, file, size, progress)
            reason = "the connection ended"
        except http.NotThere:
            raise
        except MediaMissing as error:
            reason = str(error)
        came = file.seek(0, 2) - size
        tries = TRIES if came > 0 else tries - 1
        if tries == 0:
            raise MediaMissing(f"{name}: {size} of {wanted.size} bytes came, which are kept; {reason}")
    progress.update(name, 100)
    if size > wanted.size:
        raise WrongContentError(f"{name}: has more than {wanted.size} bytes")


def _more(wanted: Download, name: str, file: BinaryIO, size: int, progress: Progress) -> None:
    """One connection's worth."""
    with http.get(wanted.url, name, start=size) as body:
        if body.total not in (None, wanted.size):
            raise WrongContentError(f"{name}: {wanted.url} has {body.total} bytes, not {wanted.size}")
        if body.start != size:
            file.truncate(body.start)
        at = file.seek(body.start)
        for chunk in body.chunks:
            if at + len(chunk) > wanted.size:
                raise WrongContentError(f"{name}: {wanted.url} has more than {wanted.size} bytes")
            with disk_errors(f"storing {name}"):
                file.write(chunk)
            at += len(chunk)
            progress.update(name, 100 * at / wanted.size)


def partial_size(wanted: Download, store: Store) -> int:
    """Bytes that are there of a file that is not whole yet."""
    path = store.root / "partial" / wanted.sha256
    return path.stat().st_size if path.exists() else 0
