"""The guest programs, built and run on the host."""

import shutil
import struct
import zlib
from pathlib import Path

import pytest

from bringup.conformance.perf import measure, program
from bringup.conformance.perf.errors import PerfError
from bringup.conformance.perf.program import WORKLOADS, Workload
from bringup.conformance.perf.report import kernel_version


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "bringup" / "perf"


def test_what_is_built_is_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = program.build_init()
    stamp = first.stat().st_mtime_ns
    assert program.build_init() == first
    assert first.stat().st_mtime_ns == stamp
    monkeypatch.setattr(program, "INIT_FLAGS", program.INIT_FLAGS + " -O1")
    assert program.build_init() != first
    assert len(list(cache.iterdir())) == 2


def test_a_header_that_changes_makes_another_program(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = program.build_board()
    sources = tmp_path / "guest"
    shutil.copytree(program.SOURCES, sources)
    with (sources / "markers.h").open("a") as file:
        file.write("/* another */\n")
    monkeypatch.setattr(program, "SOURCES", sources)
    second = program.build_board()
    assert first != second
    assert first.read_bytes() == second.read_bytes()


def test_no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PerfError, match=r"gcc.*is not installed"):
        program.build_init()


def test_a_program_that_does_not_compile(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "INIT_FLAGS", "-fno-such-flag")
    with pytest.raises(PerfError, match=r"gcc failed on init.c: .*no-such-flag"):
        program.build_init()
    assert list(cache.iterdir()) == []


def test_all_workloads_run_on_the_host_and_repeat() -> None:
    few = [Workload(each.name, each.title, 3) for each in WORKLOADS]
    first, second = measure.run_native(few), measure.run_native(few)
    assert list(first.sections) == [each.name for each in WORKLOADS]
    checksums = {name: section.checksum for name, section in first.sections.items()}
    assert checksums == {name: section.checksum for name, section in second.sections.items()}
    assert len(set(checksums.values())) == len(WORKLOADS)
    assert all(section.cpu >= 0 and section.ticks > 0 for section in first.sections.values())


def test_every_unit_counts() -> None:
    def checksums(units: int) -> dict[str, int]:
        run = measure.run_native([Workload(each.name, each.title, units) for each in WORKLOADS])
        return {name: section.checksum for name, section in run.sections.items()}

    three, four = checksums(3), checksums(4)
    assert [name for name in three if three[name] == four[name]] == []


def test_crc_is_crc_32() -> None:
    state, words = 0x2545F4914F6CDD1D, []
    for _ in range(512):
        state ^= state << 13 & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 7
        state ^= state << 17 & 0xFFFFFFFFFFFFFFFF
        words.append(state)
    data, value = struct.pack("<512Q", *words), 0
    for _ in range(3):
        value = zlib.crc32(data, value)
    run = measure.run_native([Workload("crc", "", 3)])
    assert run.sections["crc"].checksum == value


@pytest.mark.parametrize("name", ["nothing", "crc:", "", "crc:1x"])
def test_the_program_refuses_what_is_no_workload(name: str) -> None:
    with pytest.raises(PerfError, match=r"^the host: the guest program says: not a workload: "):
        measure.run_native([Workload(name, "", 1)])


def test_workloads_by_name() -> None:
    assert program.workload("x87").title == "x87"
    with pytest.raises(PerfError, match="no workload is called 'y87'; there are crc, call"):
        program.workload("y87")


def test_command_line() -> None:
    line = program.append("console=ttyS0", [Workload("crc", "", 3), Workload("x87", "", 4)])
    assert line == "console=ttyS0 -- crc:3 x87:4"


def test_initrd() -> None:
    archive = program.initrd()
    assert archive.startswith(b"070701")
    assert program.build_init().read_bytes() in archive
    assert b"dev/console\0" in archive


def test_the_first_kernel_is_a_bzimage_of_two_entries() -> None:
    path = program.build_first()
    assert kernel_version(path) == "of unknown version"
    image = path.read_bytes()
    assert len(image) == 0x800
    assert image[0x1FE:0x200] == b"\x55\xaa"
    assert image[0x600:0x604] == b"\x66\xba\xf8\x03"  # mov dx, 3F8h at the 64-bit entry
    assert image[0x400:0x404] == b"\x66\xba\xf8\x03"


@pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="qemu-system-x86_64 is not installed")
def test_the_first_kernel_says_so_on_qemu() -> None:
    assert measure.first_instruction(measure.qemu()) > 0
