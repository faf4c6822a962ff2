"""Downloads that break off, lie, stall and come again; the sha256 decides."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bringup.guests.definition import Download
from bringup.harness.media import download, http
from bringup.harness.media.progress import Silent
from bringup.harness.media.store import MediaError, MediaMissing, Medium, Store, WrongContentError

if TYPE_CHECKING:
    from .conftest import Server

CONTENT = bytes(range(256)) * 4000
PATH = "/images/disk.img"


def wanted(server: "Server", content: bytes = CONTENT) -> Download:
    return Download(
        url=server.url(PATH), sha256=hashlib.sha256(content).hexdigest(), size=len(content), licence="MIT", source="a"
    )


def fetch(wanted: Download, store: Store, offline: bool = False) -> Medium:
    return download.fetch(wanted, store, Silent(), offline=offline)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def left(store: Store) -> list[str]:
    """Files of the store, but for locks."""
    paths = (path.relative_to(store.root) for path in store.root.rglob("*") if path.is_file())
    return sorted(str(path) for path in paths if path.parts[0] != "locks")


def test_it_comes_once(server: "Server", store: Store) -> None:
    server.files[PATH] = CONTENT
    medium = fetch(wanted(server), store)
    assert medium.path.read_bytes() == CONTENT
    assert medium.provenance.origin == f"{server.url(PATH)} (a)"
    assert fetch(wanted(server), store, offline=True) == medium
    assert server.asked == [(PATH, "")]
    assert len(left(store)) == 3


def test_many_at_a_time_download_once(server: "Server", store: Store) -> None:
    server.files[PATH] = CONTENT
    with ThreadPoolExecutor(4) as pool:
        media = list(pool.map(lambda _: fetch(wanted(server), store), range(4)))
    assert len(set(media)) == 1
    assert len(server.asked) == 1


def test_a_connection_that_ends_is_gone_on_from(server: "Server", store: Store) -> None:
    server.files[PATH] = CONTENT
    server.cut[PATH] = 300_000
    assert fetch(wanted(server), store).path.read_bytes() == CONTENT
    assert [part for _, part in server.asked] == ["", "bytes=300000-", "bytes=600000-", "bytes=900000-"]


def test_a_download_that_stops_is_kept_and_gone_on_from(server: "Server", store: Store) -> None:
    server.files[PATH] = CONTENT
    server.cut[PATH] = 300_000

    class Once(Silent):
        def update(self, what: str, percent: float) -> None:
            if percent > 20:
                server.cut[PATH] = 0

    with pytest.raises(MediaMissing, match=r"^disk\.img: 300000 of 1024000 bytes came, which are kept; the connection"):
        download.fetch(wanted(server), store, Once())
    assert download.partial_size(wanted(server), store) == 300_000
    server.asked.clear()
    server.cut.clear()
    assert fetch(wanted(server), store).path.read_bytes() == CONTENT
    assert server.asked == [(PATH, "bytes=300000-")]
    assert len(left(store)) == 3


def test_a_server_that_sends_no_parts(server: "Server", store: Store) -> None:
    server.files[PATH] = CONTENT
    (store.root / "partial").mkdir(parents=True)
    (store.root / "partial" / wanted(server).sha256).write_bytes(b"other" * 1000)
    server.whole.add(PATH)
    assert fetch(wanted(server), store).path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (CONTENT[:-1] + b"x", r"disk\.img of http.*: sha256 is [0-9a-f]{64}, not [0-9a-f]{64}$"),
        (CONTENT[:-1], r"disk\.img: http.* has 1023999 bytes, not 1024000$"),
        (CONTENT + b"x", r"disk\.img: http.* has 1024001 bytes, not 1024000$"),
        (b"", r"disk\.img: http.* has 0 bytes, not 1024000$"),
    ],
)
def test_wrong_content_is_an_error_and_leaves_nothing(
    server: "Server", store: Store, content: bytes, message: str
) -> None:
    server.files[PATH] = content
    with pytest.raises(WrongContentError, match=message):
        fetch(wanted(server), store)
    assert left(store) == []


@pytest.mark.parametrize("kept", [b"x" * 300_000, b"x" * 2_000_000])
def test_a_wrong_beginning_is_found_out(server: "Server", store: Store, kept: bytes) -> None:
    server.files[PATH] = CONTENT
    (store.root / "partial").mkdir(parents=True)
    (store.root / "partial" / wanted(server).sha256).write_bytes(kept)
    with pytest.raises(WrongContentError):
        fetch(wanted(server), store)
    assert left(store) == []
    assert fetch(wanted(server), store).path.read_bytes() == CONTENT


def test_a_server_that_falls_silent(server: "Server", store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "STALL", 0.1)
    server.files[PATH] = CONTENT
    server.mute[PATH] = 400_000
    assert fetch(wanted(server), store).path.read_bytes() == CONTENT
    assert [part for _, part in server.asked] == ["", "bytes=400000-", "bytes=800000-"]


def test_a_server_that_says_nothing(server: "Server", store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "STALL", 0.1)
    server.files[PATH] = CONTENT
    server.mute[PATH] = 0
    with pytest.raises(MediaMissing, match=r"^disk\.img: 0 of 1024000 bytes came, which are kept; .*: no answer$"):
        fetch(wanted(server), store)


@pytest.mark.parametrize(("status", "message"), [(404, "404 Not Found"), (410, "410 Gone"), (503, "503 Service Una")])
def test_a_server_that_has_it_not(server: "Server", store: Store, status: int, message: str) -> None:
    server.status[PATH] = status
    with pytest.raises(MediaMissing, match=message):
        fetch(wanted(server), store)


def test_no_server(server: "Server", store: Store) -> None:
    there = wanted(server)
    nowhere = Download(url="http://127.0.0.1:1/x", sha256=there.sha256, size=9, licence="MIT", source="a")
    with pytest.raises(MediaMissing, match=r"^x: 0 of 9 bytes came, which are kept; x: .*Connection refused$"):
        fetch(nowhere, store)


def test_offline_nobody_is_asked(server: "Server", store: Store) -> None:
    server.files[PATH] = CONTENT
    with pytest.raises(MediaMissing, match=r"^disk\.img: was never fetched, and offline nothing is$"):
        fetch(wanted(server), store, offline=True)
    assert server.asked == []


def test_a_full_disk(server: "Server", store: Store) -> None:
    server.files[PATH] = CONTENT
    (store.root / "partial").mkdir(parents=True)
    (store.root / "partial" / wanted(server).sha256).symlink_to("/dev/full")
    with pytest.raises(MediaError, match=r"^storing disk\.img: .*the disk is full$") as raised:
        fetch(wanted(server), store)
    assert not isinstance(raised.value, MediaMissing | WrongContentError)
    assert left(store) == []
