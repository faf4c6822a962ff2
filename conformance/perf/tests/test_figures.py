"""Medians, spreads, ratios and rates."""

import pytest

from bringup.conformance.perf import figures, suite
from bringup.conformance.perf.errors import PerfError
from bringup.conformance.perf.figures import LinuxRuns, Measured, Spread
from bringup.conformance.perf.measure import Boot, Run, Sample, Section, Vmm
from bringup.conformance.perf.process import MIB, Memory, Process
from bringup.conformance.perf.program import Workload
from bringup.conformance.perf.targets import TARGETS, verdicts

CRC = Workload("crc", "CRC-32", 10)


def a_run(boot: float, crc: float, ticks: int = 300_000_000, checksum: int = 5, count: int | None = 10**9) -> Run:
    return Run(boot, count, {"crc": Section(crc, checksum, ticks)}, Memory(peak=150 * MIB, guest=100 * MIB))


def linux() -> LinuxRuns:
    """Three pairs; the first VMM takes 2, 3 and 10 times as long for crc."""
    ours = [a_run(4, 2.0), a_run(8, 3.0), a_run(6, 20.0)]
    theirs = [a_run(2, 1.0), a_run(2, 1.0), a_run(2, 2.0)]
    native = Run(0, None, {"crc": Section(0.1, 5, 1)}, None)
    return LinuxRuns({"bringup": ours, "qemu": theirs}, native, ours[0])


def measured() -> Measured:
    parts = {"dma": {"bringup": [Sample(1, 50), Sample(3, 50)], "qemu": [Sample(2), Sample(2)]}}
    return Measured(linux(), {"bringup": [0.1, 0.3, 0.2], "qemu": [0.1] * 3}, parts)


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
    boot, crc = figures.timed(linux(), [CRC])
    assert (boot.name, boot.ratio) == ("boot", Spread(3, 2, 4))
    assert crc.ratio == Spread(3, 2, 10)
    assert crc.seconds["bringup"] == Spread(3, 2, 20)


def test_rates() -> None:
    boot, crc = figures.timed(linux(), [CRC])
    assert crc.instructions == 300_000_000
    assert crc.mips("bringup") == 100
    assert crc.mips("qemu") == 300
    assert crc.native_mips == pytest.approx(3000)
    assert boot.mips("bringup") == pytest.approx(1000 / 6)
    assert boot.native_mips is None


def test_one_vmm_has_no_ratio_and_an_uncounted_boot_no_rate() -> None:
    runs = [a_run(4, 2.0, count=None)]
    [boot] = figures.timed(LinuxRuns({"qemu": runs}, runs[0], runs[0]), [])
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
    assert suite.miscounts(measured(), vmms) == []
    right = linux()
    runs = {"bringup": [a_run(1, 1), a_run(1, 1, ticks=300_000_001)], "qemu": [a_run(1, 1, ticks=7)]}
    parts = {"dma": {"bringup": [Sample(1, 49), Sample(1, 50)], "qemu": [Sample(2), Sample(2)]}}
    assert suite.miscounts(Measured(LinuxRuns(runs, right.native, right.counted), {}, parts), vmms) == [
        "bringup counted crc differently: 300,000,000 to 300,000,001 instructions",
        "bringup counted dma differently: 49 to 50 instructions",
    ]


def test_samples_of_other_parts() -> None:
    titles = {"bios": "not measured", "dma": "64 MiB"}
    [dma] = figures.sampled(measured().parts, titles)
    assert (dma.title, dma.instructions, dma.runs) == ("64 MiB", 50, 2)
    assert dma.ratio == Spread(1, 0.5, 1.5)
    assert Sample(3, 70).since(Sample(1, 20)) == Sample(2, 50)
    assert Sample(3, None).since(Sample(1, 20)) == Sample(2, None)


class APart:
    """Of which each machine takes a second more than the one before."""

    def __init__(self, name: str, long: bool) -> None:
        self.name, self.long = name, long
        self.order: list[str] = []

    def measure(self, vmm: Vmm) -> dict[str, Sample]:
        self.order.append(vmm.name)
        return {self.name: Sample(len(self.order))}


def test_parts_in_turn_and_long_ones_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(boot: Boot) -> Process:
        raise AssertionError

    monkeypatch.setattr(suite, "LONG_PAIRS", 1)
    vmms = [Vmm("bringup", "", start), Vmm("qemu", "", start)]
    short, long = APart("dma", False), APart("pio", True)
    notes: list[str] = []
    found = suite.measure_all(vmms, suite.Plan(parts=[short, long]), 2, notes.append)
    assert short.order == ["bringup", "qemu", "qemu", "bringup"]
    assert long.order == ["bringup", "qemu"]
    assert found.linux is None
    assert found.parts["dma"] == {"bringup": [Sample(1), Sample(4)], "qemu": [Sample(2), Sample(3)]}
    assert notes[0] == "1/2 bringup: dma 1.00 CPU s"


def test_targets() -> None:
    data = measured()
    timed = [*figures.timed(linux(), [CRC]), *figures.sampled(data.parts, {"dma": ""})]
    sentences = verdicts(timed, figures.quantities(data))
    assert sentences == [
        "boot: 167 MIPS, at least 120 wanted: met",
        "boot: 3 times QEMU's CPU time, at most 5 wanted: met",
        "crc: 100 MIPS, at least 150 wanted: missed by 33%",
        "dma: 1 times QEMU's CPU time, at most 2 wanted: met",
        "start: 0.2 s, at most 0.5 wanted: met",
        "memory: 50 MiB, at most 100 wanted: met",
    ]
    assert len(TARGETS) == 9
