"""Medians, spreads, ratios and rates."""

import pytest

from bringup.conformance.perf import figures, suite
from bringup.conformance.perf.errors import PerfError
from bringup.conformance.perf.figures import Measured, Spread
from bringup.conformance.perf.measure import Boot, Run, Section, Vmm
from bringup.conformance.perf.process import MIB, Memory, Process
from bringup.conformance.perf.program import Workload
from bringup.conformance.perf.targets import TARGETS, verdicts

CRC = Workload("crc", "CRC-32", 10)


def a_run(boot: float, crc: float, ticks: int = 300_000_000, checksum: int = 5, count: int | None = 10**9) -> Run:
    return Run(boot, count, {"crc": Section(crc, checksum, ticks)}, Memory(peak=150 * MIB, guest=100 * MIB))


def measured() -> Measured:
    """Three pairs; the first VMM takes 2, 3 and 10 times as long for crc."""
    ours = [a_run(4, 2.0), a_run(8, 3.0), a_run(6, 20.0)]
    theirs = [a_run(2, 1.0), a_run(2, 1.0), a_run(2, 2.0)]
    native = Run(0, None, {"crc": Section(0.1, 5, 1)}, None)
    return Measured({"bringup": ours, "qemu": theirs}, {"bringup": [0.1, 0.3, 0.2], "qemu": [0.1] * 3}, native, ours[0])


@pytest.mark.parametrize(
    ("values", "spread"),
    [
        ([3.0], Spread(3, 3, 3)),
        ([9.0, 1.0, 2.0], Spread(2, 1, 9)),
        ([4.0, 1.0, 2.0, 3.0], Spread(2.5, 1, 4)),
    ],
)
def test_spread(values: list[float], spread: Spread) -> None:
    assert Spread.of(values) == spread


def test_spread_of_nothing() -> None:
    with pytest.raises(ValueError, match="no measurement"):
        Spread.of([])


def test_ratios_are_of_pairs_not_of_medians() -> None:
    boot, crc = figures.timed(measured(), [CRC])
    assert (boot.name, boot.ratio) == ("boot", Spread(3, 2, 4))
    assert crc.ratio == Spread(3, 2, 10)
    assert crc.seconds["bringup"] == Spread(3, 2, 20)


def test_rates() -> None:
    boot, crc = figures.timed(measured(), [CRC])
    assert crc.instructions == 300_000_000
    assert crc.mips("bringup") == 100
    assert crc.mips("qemu") == 300
    assert crc.native_mips == pytest.approx(3000)
    assert boot.mips("bringup") == pytest.approx(1000 / 6)
    assert boot.native_mips is None


def test_one_vmm_has_no_ratio_and_an_uncounted_boot_no_rate() -> None:
    runs = [a_run(4, 2.0, count=None)]
    [boot] = figures.timed(Measured({"qemu": runs}, {"qemu": []}, runs[0], runs[0]), [])
    assert boot.ratio is None
    assert boot.mips("qemu") is None


def test_quantities() -> None:
    start, memory = figures.quantities(measured())
    assert start.values["bringup"] == Spread(0.2, 0.1, 0.3)
    assert memory.values["qemu"] == Spread(50, 50, 50)


def test_a_wrong_checksum_is_an_error() -> None:
    figures.check("qemu", a_run(1, 1), a_run(1, 1))
    with pytest.raises(PerfError, match=r"^qemu computes crc wrong: checksum 0{15}6, the host's processor has 0{15}5$"):
        figures.check("qemu", a_run(1, 1, checksum=6), a_run(1, 1))


def test_counts_that_differ_are_told() -> None:
    def start(boot: Boot) -> Process:
        raise AssertionError

    vmms = [Vmm("bringup", "", start, exact=True), Vmm("qemu", "", start)]
    data = measured()
    assert suite.miscounts(data, vmms) == []
    runs = {"bringup": [a_run(1, 1), a_run(1, 1, ticks=300_000_001)], "qemu": [a_run(1, 1, ticks=7)]}
    assert suite.miscounts(Measured(runs, {}, data.native, data.counted), vmms) == [
        "bringup counted crc differently: 300,000,000 to 300,000,001 instructions"
    ]


def test_targets() -> None:
    data = measured()
    sentences = verdicts(figures.timed(data, [CRC]), figures.quantities(data))
    assert sentences == [
        "boot: 167 MIPS, at least 120 wanted: met",
        "boot: 3 times QEMU's CPU time, at most 5 wanted: met",
        "crc: 100 MIPS, at least 150 wanted: missed by 33%",
        "start: 0.2 s, at most 0.5 wanted: met",
        "memory: 50 MiB, at most 100 wanted: met",
    ]
    assert len(TARGETS) == 8
