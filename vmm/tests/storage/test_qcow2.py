"""qcow2: what is read, and what is refused."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qcow2image import COMPRESSED, COPIED, ZERO, Builder, pattern

from bringup.vmm.storage import ProtectedError, StorageError, read_bytes
from bringup.vmm.storage.qcow2 import Qcow2Image

Refuses = Callable[[bytes, str], None]


@pytest.fixture
def refuses(tmp_path: Path) -> Refuses:
    """Opening these bytes fails with one line that has all of the text's words."""

    def check(image: bytes, text: str) -> None:
        path = tmp_path / "bad.qcow2"
        path.write_bytes(image)
        with pytest.raises(StorageError) as caught:
            Qcow2Image(path)
        message = str(caught.value)
        assert message.startswith(str(path)) and "\n" not in message
        assert text in message, message

    return check


def opened(path: Path, image: bytes) -> Qcow2Image:
    path.write_bytes(image)
    return Qcow2Image(path)


# ---- reading ----


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("bits", [9, 12, 16])
def test_clusters_of_every_kind(tmp_path: Path, version: int, bits: int) -> None:
    builder = Builder(clusters=8, bits=bits, version=version)
    builder.put(1, pattern(1, builder.cluster))
    builder.put_compressed(2, pattern(2, builder.cluster), at=12)
    builder.put(5, pattern(5, builder.cluster))
    if version == 3:
        builder.put(3, pattern(3, builder.cluster))
        builder.l2[3] |= ZERO
        builder.l2[4] = ZERO
    image = opened(tmp_path / "image", builder.build())
    want = b"".join(pattern(index if index in (1, 2, 5) else 0, builder.cluster) for index in range(8))
    assert image.size == len(want) and read_bytes(image, 0, image.size) == want
    for offset in (0, 1, builder.cluster - 3, 2 * builder.cluster + 7):
        size = 2 * builder.cluster + 5
        assert read_bytes(image, offset, size) == want[offset : offset + size]
    image.close()


def test_the_last_cluster_of_the_file_may_be_short(tmp_path: Path) -> None:
    builder = Builder()
    builder.put(0, pattern(7, 1024))
    data = builder.build()
    image = opened(tmp_path / "image", data[: builder.end - builder.cluster + 1024])
    assert read_bytes(image, 0, builder.cluster) == pattern(7, 1024) + bytes(builder.cluster - 1024)
    image.close()


def test_beyond_the_end(tmp_path: Path) -> None:
    image = opened(tmp_path / "image", Builder().build())
    for offset, size in ((image.size, 1), (image.size - 511, 512), (-1, 1)):
        with pytest.raises(StorageError, match="offset"):
            image.read(offset, bytearray(size))
    with pytest.raises(ProtectedError):
        image.write(0, bytearray(512))
    image.close()


def test_a_damaged_compressed_cluster(tmp_path: Path) -> None:
    builder = Builder()
    builder.put_compressed(0, pattern(1, builder.cluster))
    start = builder.end - builder.cluster
    data = bytearray(builder.build())
    data[start : start + 4] = b"\xff\xff\xff\xff"
    image = opened(tmp_path / "image", bytes(data))
    with pytest.raises(StorageError, match=f"offset {start:#x}: a damaged compressed cluster"):
        image.read(0, bytearray(512))
    image.close()


def test_a_compressed_cluster_that_is_too_short_or_a_bomb(tmp_path: Path) -> None:
    builder = Builder()
    builder.put_compressed(0, pattern(1, 512))
    builder.put_compressed(1, pattern(1, 100 * builder.cluster))
    image = opened(tmp_path / "image", builder.build())
    with pytest.raises(StorageError, match="of 512 bytes instead of 4096"):
        image.read(0, bytearray(512))
    assert read_bytes(image, builder.cluster, 512) == pattern(1, 512)
    image.close()


# ---- refusing ----


@pytest.mark.parametrize(
    ("offset", "data", "text"),
    [
        (0, b"QFI\xfa", "offset 0x0: is no qcow2 image"),
        (4, struct.pack(">I", 1), "offset 0x4: qcow2 version 1"),
        (4, struct.pack(">I", 4), "offset 0x4: qcow2 version 4"),
        (8, struct.pack(">Q", 0x200), "offset 0x8: has a backing file"),
        (20, struct.pack(">I", 8), "offset 0x14: clusters of 2^8"),
        (20, struct.pack(">I", 22), "offset 0x14: clusters of 2^22"),
        (20, struct.pack(">I", 0xFFFFFFFF), "offset 0x14"),
        (24, struct.pack(">Q", 0), "offset 0x18: a disk of 0 bytes"),
        (24, struct.pack(">Q", 513), "offset 0x18: a disk of 513 bytes"),
        (24, struct.pack(">Q", 1 << 62), "offset 0x18"),
        (24, struct.pack(">Q", 1 << 50), "offset 0x24: the first table has 1 entries"),
        (32, struct.pack(">I", 1), "offset 0x20: is encrypted"),
        (36, struct.pack(">I", 0), "offset 0x24: the first table has 0 entries"),
        (36, struct.pack(">I", 0xFFFFFFFF), "offset 0x24: a first table of 4294967295 entries is too large"),
        (40, struct.pack(">Q", 0), "offset 0x28: the first table at 0x0 lies outside"),
        (40, struct.pack(">Q", 0x1001), "offset 0x28: the first table at 0x1001 is not at the start"),
        (40, struct.pack(">Q", 1 << 60), "offset 0x28: the first table at 0x1000000000000000 lies outside"),
        (72, struct.pack(">Q", 2), "offset 0x48: is marked as corrupt"),
        (72, struct.pack(">Q", 4), "offset 0x48: keeps its data in another file"),
        (72, struct.pack(">Q", 8), "offset 0x68: is compressed by another method"),
        (72, struct.pack(">Q", 16), "offset 0x48: has extended L2"),
        (72, struct.pack(">Q", 1 << 40), "offset 0x48: has unknown features 0x10000000000"),
        (100, struct.pack(">I", 72), "offset 0x64: a header of 72 bytes"),
    ],
)
def test_bad_headers(refuses: Refuses, offset: int, data: bytes, text: str) -> None:
    builder = Builder()
    builder.fields[offset] = data
    refuses(builder.build(), text)


def test_a_dirty_image_is_read(tmp_path: Path) -> None:
    builder = Builder()
    builder.fields[72] = struct.pack(">Q", 1)
    opened(tmp_path / "image", builder.build()).close()


def test_a_first_table_that_is_too_large(refuses: Refuses) -> None:
    builder = Builder(bits=9)
    builder.fields |= {24: struct.pack(">Q", 1 << 61), 36: struct.pack(">I", 0xFFFFFFFF)}
    refuses(builder.build(), "offset 0x24")


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (0, "overlaps another table"),
        (0x1000, "overlaps another table"),
        (0x2000, "is used twice, or is a table"),
        (0x3200, "is not at the start of a cluster"),
        (0x100000, "lies outside of the file"),
        (0x00FFFFFFFFFFF000, "lies outside of the file"),
    ],
)
def test_bad_second_tables(refuses: Refuses, entry: int, text: str) -> None:
    """In the second table at 0x2000, an entry for a cluster; in the first, one for a table that is the header."""
    builder = Builder()
    if entry in (0, 0x1000):
        builder = Builder(clusters=1000)
        builder.l1[1] = 0x1000
        refuses(builder.build(), "offset 0x1008: a second table at 0x1000 " + text)
        return
    builder.put(0, b"")
    builder.l2[9] = entry | COPIED
    refuses(builder.build(), f"offset {0x2000 + 72:#x}: a cluster at {entry:#x} {text}")


def test_tables_that_loop(refuses: Refuses) -> None:
    builder = Builder(clusters=1000)
    builder.l1[1] = builder.l1[0]
    refuses(builder.build(), "offset 0x1008: a second table at 0x2000 overlaps another table")


def test_a_cluster_that_is_used_twice(refuses: Refuses) -> None:
    builder = Builder()
    builder.put(0, b"x")
    builder.l2[1] = builder.l2[0]
    refuses(builder.build(), "offset 0x2008: a cluster at 0x3000 is used twice")


def test_tables_that_would_fill_memory(tmp_path: Path) -> None:
    """Clusters of 2 MiB: each entry of the first table is a second table of as much, in a file that is mostly holes."""
    head = bytearray(3 << 21)
    builder = Builder(clusters=1 << 20, bits=21)
    head[:104] = builder.build()[:104]
    struct.pack_into(">QII", head, 24, 1024 << 39, 0, 1024)  # the disk's size, and the first table's
    struct.pack_into(">1024Q", head, 1 << 21, *((2 + index) << 21 for index in range(1024)))
    path = tmp_path / "holes.qcow2"
    path.write_bytes(head)
    os.truncate(path, 3 << 31)
    with pytest.raises(StorageError, match=r"offset 0x200200: second tables of more than 128 MiB"):
        Qcow2Image(path)


def test_a_compressed_cluster_outside(refuses: Refuses) -> None:
    builder = Builder()
    builder.l2[0] = COMPRESSED | 0x10000000
    refuses(builder.build(), "offset 0x2000: a compressed cluster at 0x10000000 lies outside")
    builder.put(1, b"x")
    end = builder.end - 300
    builder.l2[0] = COMPRESSED | (end + 100)  # where the last sector would go on
    refuses(builder.build()[:end], f"offset 0x2000: a compressed cluster at {end + 100:#x} lies outside")


@pytest.mark.parametrize("size", [0, 1, 71, 72, 103, 104, 4096, 4100, 8192, 8200, 12287])
def test_truncated(tmp_path: Path, size: int) -> None:
    builder = Builder()
    builder.put(0, b"x")
    path = tmp_path / "image"
    path.write_bytes(builder.build()[:size])
    with pytest.raises(StorageError) as caught:
        Qcow2Image(path)
    assert str(path) in str(caught.value)


# ---- any bytes ----


@settings(
    deadline=None, derandomize=True, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_any_damage_is_an_error_or_data(tmp_path: Path, data: st.DataObject) -> None:
    """Bytes of header and tables changed at random: the image is refused, or every read ends."""
    builder = Builder(bits=9, clusters=40)
    builder.put(0, pattern(1, 512))
    builder.put_compressed(1, pattern(2, 512))
    builder.put(7, pattern(3, 512))
    image = bytearray(builder.build())
    for _ in range(data.draw(st.integers(1, 6))):
        where = data.draw(st.one_of(st.integers(0, 112), st.integers(512, 1600), st.integers(0, len(image) - 1)))
        image[where] = data.draw(st.integers(0, 255))
    del image[data.draw(st.integers(len(image) - 600, len(image))) :]
    path = tmp_path / "image"
    path.write_bytes(image)
    try:
        disk = Qcow2Image(path)
    except StorageError as error:
        assert str(path) in str(error)
        return
    try:
        for offset in range(0, min(disk.size, 40 * 512), 512):
            try:
                assert len(read_bytes(disk, offset, 512)) == 512
            except StorageError as error:
                assert "offset" in str(error)
    finally:
        disk.close()


@settings(
    deadline=None, derandomize=True, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=2048))
def test_any_bytes_behind_the_magic(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"QFI\xfb" + data)
    with pytest.raises(StorageError):
        Qcow2Image(path)


# ---- by another program ----


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")
@pytest.mark.parametrize("options", [["-o", "compat=0.10"], ["-c"], ["-o", "cluster_size=512"], ["-S", "4k"]])
def test_images_of_qemu_img(tmp_path: Path, options: list[str]) -> None:
    content = b"".join(pattern(n, 4096) if n % 3 else bytes(4096) for n in range(200))
    raw, image = tmp_path / "raw", tmp_path / "qcow2"
    raw.write_bytes(content)
    command = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *options, str(raw), str(image)]
    alone = {**os.environ, "LD_PRELOAD": ""}  # its coroutines stand still under the sanitizers' library
    subprocess.run(command, check=True, timeout=60, env=alone)
    disk = Qcow2Image(image)
    assert disk.size == len(content) and read_bytes(disk, 0, len(content)) == content
    disk.close()
