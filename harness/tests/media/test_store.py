"""The content-addressed store: whole files or none, checked at every use, by many processes at a time."""

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from bringup.harness.media.store import MediaError, Provenance, Store, WrongContentError, cache_root

ABOUT = Provenance("boot/vmlinuz", "a test", "0BSD", "00" * 32)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "bringup")


def files(store: Store) -> list[str]:
    paths = (path.relative_to(store.root) for path in store.root.rglob("*") if path.is_file())
    return sorted(str(path) for path in paths if path.parts[0] != "locks")


def test_what_is_added_is_found_by_content_and_by_name(store: Store) -> None:
    medium = store.add([b"hel", b"lo"], ABOUT)
    assert medium.sha256 == sha256(b"hello").hexdigest() == medium.path.name
    assert medium.path.read_bytes() == b"hello"
    assert stat.S_IMODE(medium.path.stat().st_mode) == 0o444
    assert store.get(medium.sha256) == medium
    assert store.lookup("a/b") is None
    store.bind("a/b", medium)
    assert store.lookup("a/b") == medium
    assert Store(store.root).lookup("a/b") == medium


def test_what_is_not_there_is_none(store: Store) -> None:
    assert store.get("00" * 32) is None


def test_other_bytes_than_expected_are_an_error_and_leave_nothing(store: Store) -> None:
    with pytest.raises(WrongContentError, match=rf"vmlinuz of a test: sha256 is {sha256(b'b').hexdigest()}, not"):
        store.add([b"b"], ABOUT, expected=sha256(b"a").hexdigest())
    assert files(store) == []


@pytest.mark.parametrize("damage", [b"hell", b"hellO", b""])
def test_content_that_has_changed_is_an_error(store: Store, damage: bytes) -> None:
    medium = store.add([b"hello"], ABOUT)
    store.bind("name", medium)
    medium.path.chmod(0o644)
    medium.path.write_bytes(damage)
    with pytest.raises(WrongContentError, match=rf"{medium.path}: the content is not what the name says"):
        store.lookup("name")


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"sha256": "a", "more": "b"}', "{}"])
def test_records_that_have_changed_are_an_error(store: Store, damage: str) -> None:
    store.bind("name", store.add([b"hello"], ABOUT))
    path = store.root / "names" / "name.json"
    path.chmod(0o644)
    path.write_text(damage)
    with pytest.raises(MediaError, match="is not what was written there"):
        store.lookup("name")


def test_a_source_that_breaks_off_leaves_nothing(store: Store) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"the first half"
        raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")

    with pytest.raises(MediaError, match=r"storing boot/vmlinuz: .*Connection reset"):
        store.add(chunks(), ABOUT)
    assert files(store) == []


def test_a_full_disk_is_one_line_and_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MediaError, match=r"storing boot/vmlinuz: .*the disk is full$"):
        store.add([b"hello"], ABOUT)
    assert files(store) == []


def test_a_root_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MediaError, match="Not a directory"):
        Store(tmp_path / "file" / "bringup").add([b"hello"], ABOUT)


def test_many_processes_at_a_time(store: Store) -> None:
    program = """
import sys
from pathlib import Path
from bringup.harness.media.store import Provenance, Store
store = Store(Path(sys.argv[1]))
for number in range(40):
    medium = store.add([b"%d" % number] * 2000, Provenance("n", "o", "l"))
    store.bind("last", medium)
    assert store.lookup("last") is not None
    with store.lock("counter"):
        counter = store.root / "counter"
        counter.write_text(str(int(counter.read_text()) + 1))
"""
    store.root.mkdir()
    (store.root / "counter").write_text("0")
    processes = [subprocess.Popen([sys.executable, "-c", program, str(store.root)]) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    assert (store.root / "counter").read_text() == "160"
    contents = [path for path in (store.root / "content").iterdir() if path.suffix == ""]
    assert len(contents) == 40
    assert all(sha256(path.read_bytes()).hexdigest() == path.name for path in contents)
    assert list((store.root / "temporary").iterdir()) == []


def test_the_root_follows_the_xdg_specification(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_root() == tmp_path / "bringup"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/user")
    assert cache_root() == Path("/home/user/.cache/bringup")
