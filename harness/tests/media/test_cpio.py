"""The cpio writer: its bytes, the format's rules, and what cpio(1) makes of them."""

import shutil
import subprocess

import pytest

from bringup.harness.media.cpio import CpioArchive


def fields(record: bytes) -> list[int]:
    assert record[:6] == b"070701"
    return [int(record[at : at + 8], 16) for at in range(6, 110, 8)]


def test_a_file_byte_by_byte() -> None:
    archive = CpioArchive()
    archive.file("abc", b"hello", 0o600)
    data = archive.to_bytes()
    #                           ino mode      uid gid links time size maj min rmaj rmin name check
    assert fields(data) == [1, 0o100600, 0, 0, 1, 0, 5, 0, 0, 0, 0, 4, 0]
    assert data[110:124] == b"abc\0\0\0" + b"hello\0\0\0"
    assert data[124:].startswith(b"070701") and data[124 + 110 :] == b"TRAILER!!!\0\0\0\0"
    assert len(data) % 4 == 0


def test_every_kind_of_entry() -> None:
    archive = CpioArchive()
    archive.character_device("dev/console", 5, 1)
    archive.block_device("dev/sda", 8, 0, 0o660)
    archive.symlink("link", "dev/console")
    records = archive.to_bytes().split(b"070701")[1:]
    by_name = {}
    for record in records:
        values = fields(b"070701" + record)
        by_name[record[104 : 104 + values[11] - 1].decode()] = values
    assert list(by_name) == ["dev", "dev/console", "dev/sda", "link", "TRAILER!!!"]
    assert [values[1] for values in by_name.values()] == [0o40755, 0o20600, 0o60660, 0o120777, 0]
    assert by_name["dev/console"][9:11] == [5, 1]
    assert by_name["dev/sda"][9:11] == [8, 0]
    assert by_name["dev"][4] == 2
    assert by_name["link"][6] == len("dev/console")


def test_the_same_calls_give_the_same_bytes() -> None:
    def make() -> bytes:
        archive = CpioArchive()
        archive.file("a/b/c", b"\xff" * 1001)
        archive.directory("a/d", 0o700)
        return archive.to_bytes()

    assert make() == make()


@pytest.mark.parametrize("path", ["", "/etc", "a//b", "../a", "a/./b", "a/", "a\0b", "TRAILER!!!"])
def test_bad_paths(path: str) -> None:
    with pytest.raises(ValueError, match="not a relative path"):
        CpioArchive().file(path, b"")


def test_a_path_twice() -> None:
    archive = CpioArchive()
    archive.file("dev/null", b"")
    with pytest.raises(ValueError, match="'dev' is in the archive already"):
        archive.directory("dev")


def test_numbers_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="32 bits"):
        CpioArchive().character_device("a", 1 << 32, 0)


@pytest.mark.skipif(shutil.which("cpio") is None, reason="no cpio on this system")
def test_cpio_reads_it() -> None:
    archive = CpioArchive()
    archive.file("bin/busybox", b"x" * 4097, 0o755)
    archive.symlink("sbin", "bin")
    done = subprocess.run(["cpio", "-t"], input=archive.to_bytes(), capture_output=True, check=True)
    assert done.stdout.decode().split() == ["bin", "bin/busybox", "sbin"]
