"""The console lines of the guest programs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bringup.conformance.perf.errors import PerfError
from bringup.conformance.perf.markers import Done, End, Marker, Ready, Start, due, parse

END = b"@perf end crc units=7 sum=000000005f55731a ticks=00000000000098388468"


@pytest.mark.parametrize(
    ("line", "marker"),
    [
        (b"@perf ready\r", Ready()),
        (b"@perf first", Ready()),
        (b"@perf start crc units=3000\r", Start("crc", 3000)),
        (END, End("crc", 7, 0x5F55731A, 98388468)),
        (b"@perf done\r\n", Done()),
        (b"[    0.000000] Linux version 6.1.0", None),
        (b"Booting from ROM..", None),
        (b"", None),
        (b" @perf done", None),
        (b"@performance", None),
    ],
)
def test_lines(line: bytes, marker: Marker | None) -> None:
    assert parse(line) == marker


@pytest.mark.parametrize(
    "line",
    [
        b"@perf ",
        b"@perf begin",
        b"@perf ready steady",
        b"@perf start crc",
        b"@perf start crc units=-1",
        b"@perf start crc units=123456789012345678901",
        END[:-1],
        END + b"0",
        END.replace(b"sum=0", b"sum=g"),
        b"@perf do[    3.655782] reboot: Power down",
        b"@perf \xff\xfe",
    ],
)
def test_a_marker_that_is_none_is_an_error(line: bytes) -> None:
    with pytest.raises(PerfError, match="does not print"):
        parse(line)


def test_the_program_may_complain() -> None:
    with pytest.raises(PerfError, match="the guest program says: not a workload: abc:1"):
        parse(b"@perf error not a workload: abc:1\r")


def test_a_kernel_that_dies_is_not_waited_for() -> None:
    with pytest.raises(PerfError, match=r"kernel died.*Unable to mount root fs"):
        parse(b"[    1.5] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\r")


@given(st.binary(max_size=200).map(lambda tail: b"@perf " + tail) | st.binary(max_size=200))
def test_any_line_is_a_marker_or_none_or_an_error_of_one_line(line: bytes) -> None:
    try:
        parse(line)
    except PerfError as error:
        assert len(str(error).splitlines()) == 1


def test_a_marker_that_is_due() -> None:
    end = End("crc", 7, 5, 1)
    assert due("qemu", end, End, "crc") == end
    assert due("qemu", Ready(), Ready) == Ready()
    with pytest.raises(PerfError, match=r"^qemu: the marker End\(name='crc'.* arrived where 'end pio' was due$"):
        due("qemu", end, End, "pio")
    with pytest.raises(PerfError, match=r"^qemu: the marker Ready\(\) arrived where 'done' was due$"):
        due("qemu", Ready(), Done)
