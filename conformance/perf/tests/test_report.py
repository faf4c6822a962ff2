"""The table as text and as a page."""

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from bringup.conformance.perf import report
from bringup.conformance.perf.errors import PerfError
from bringup.conformance.perf.figures import Quantity, Spread, Timed
from bringup.conformance.perf.measure import Boot, Vmm
from bringup.conformance.perf.process import Process
from bringup.conformance.perf.report import Report


def start(boot: Boot) -> Process:
    raise AssertionError


OURS, THEIRS = Vmm("bringup", "bringup --accel vtx", start, exact=True), Vmm("qemu", "QEMU 7.2", start)
REPORT = Report(
    vmms=[OURS, THEIRS],
    pairs=9,
    kernel="6.1.0-1-amd64",
    timed=[
        Timed(
            "crc",
            "CRC-32",
            98_388_468,
            3500.4,
            {"bringup": Spread(0.5, 0.4, 0.6), "qemu": Spread(0.06, 0.06, 0.07)},
            Spread(8.25, 7, 12.5),
            9,
        )
    ],
    quantities=[Quantity("memory", "memory", "MiB", {"bringup": Spread(50, 50, 50), "qemu": Spread(92, 91, 93)})],
    verdicts=["crc: 197 MIPS"],
    complaints=[],
)


def test_text() -> None:
    lines = REPORT.text().splitlines()
    header, row = lines[lines.index("") + 1 :][:2]
    assert " ".join(header.split()) == "instructions native MIPS bringup s bringup MIPS qemu s qemu MIPS bringup/qemu"
    assert " ".join(row.split()) == "CRC-32 98.4 M 3,500 0.500 197 0.060 1,640 8.25 (7.00 to 12.5)"
    assert len(header) == len(row)
    assert "9 pairs" in lines[0]
    assert "Linux 6.1.0-1-amd64" in REPORT.text().replace("\n", " ")


def test_one_vmm_has_no_ratio_column() -> None:
    text = replace(REPORT, vmms=[THEIRS]).text()
    assert "9 runs" in text
    assert "bringup" not in text


def test_rows_of_fewer_pairs_are_named_and_no_linux_is_claimed() -> None:
    text = replace(REPORT, timed=[replace(REPORT.timed[0], runs=5)], kernel=None).text().replace("\n", " ")
    assert "9 pairs in alternating order, 5 of CRC-32; bringup is" in text


def test_page_keeps_its_notes(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    report.write(REPORT, page)
    first = page.read_text()
    assert "| CRC-32 | 98.4 M | 3,500 | 0.500 | 197 | 0.060 | 1,640 | 8.25 (7.00 to 12.5) |" in first
    assert first.endswith("## Notes\n\nNone.\n")
    page.write_text(first.removesuffix("None.\n") + "Slow, because.\n\nTwo paragraphs.\n")
    report.write(replace(REPORT, pairs=3), page)
    second = page.read_text()
    assert "3 pairs" in second
    assert second.endswith("## Notes\n\nSlow, because.\n\nTwo paragraphs.\n")
    assert second.count("## Notes") == 1
    assert max(map(len, second.splitlines())) <= 120


def test_page_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(PerfError, match="cannot be written"):
        report.write(REPORT, tmp_path)


def test_host() -> None:
    cpuinfo = "processor\t: 0\nvendor_id\t: V\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: Fast CPU\n\nflags\t: a\n"
    assert report.describe_host(cpuinfo, 2, "6.9") == "Fast CPU (family 25 model 17), 2 processors, Linux 6.9"
    assert report.describe_host("", 1, "6.9") == "unknown processor (family ? model ?), 1 processors, Linux 6.9"


def bzimage(version: bytes, offset: int = 0x100) -> bytes:
    image = bytearray(0x400)
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image, 0x20E, offset)
    image[0x300 : 0x300 + len(version)] = version
    return bytes(image)


@pytest.mark.parametrize(
    ("image", "version"),
    [
        (bzimage(b"6.1.0-56-cloud-amd64 (debian) #1 SMP\0"), "6.1.0-56-cloud-amd64"),
        (bzimage(b"", offset=0), "of unknown version"),
        (bzimage(b""), "of unknown version"),
        (bzimage(b"x", offset=0xFFFF), "of unknown version"),
    ],
)
def test_kernel_version(tmp_path: Path, image: bytes, version: str) -> None:
    (tmp_path / "kernel").write_bytes(image)
    assert report.kernel_version(tmp_path / "kernel") == version


@pytest.mark.parametrize("image", [b"", b"\x7fELF" + bytes(1000), bzimage(b"")[:0x203]])
def test_a_file_that_is_no_kernel(tmp_path: Path, image: bytes) -> None:
    (tmp_path / "kernel").write_bytes(image)
    with pytest.raises(PerfError, match="not a Linux bzImage"):
        report.kernel_version(tmp_path / "kernel")


def test_a_kernel_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PerfError, match="No such file"):
        report.kernel_version(tmp_path / "kernel")
