"""The guest program's lines, whole and broken."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bringup.conformance.cpu import deviations
from bringup.conformance.cpu.catalogue import behaviours, names
from bringup.conformance.cpu.results import WHY_MAXIMUM, Reader, Result, Verdict
from bringup.harness.vmms.loader import LoadedVmm, VmmError, load


def read(*lines: str) -> tuple[Reader, list[Result]]:
    reader = Reader()
    return reader, [result for line in lines if (result := reader.feed(line)) is not None]


def test_a_whole_run() -> None:
    reader, results = read(
        "bringup-cpu 1 3", "BEGIN a.x", "PASS a.x", "BEGIN a.y", "FAIL a.y: it is 1h, expected 2h", "BEGIN b.z",
        "SKIP b.z: CPUID shows no NX", "END",
    )  # fmt: skip
    assert results == [
        Result("a.x", Verdict.PASSED),
        Result("a.y", Verdict.FAILED, "it is 1h, expected 2h"),
        Result("b.z", Verdict.SKIPPED, "CPUID shows no NX"),
    ]
    assert reader.header and reader.finished and not reader.begun


def test_a_machine_that_dies_tells_in_what() -> None:
    reader, results = read("bringup-cpu 1 2", "BEGIN a.x", "PASS a.x", "BEGIN a.y")
    assert [result.name for result in results] == ["a.x"]
    assert reader.begun == "a.y" and not reader.finished


def test_an_ending_is_announced() -> None:
    reader, _ = read("bringup-cpu 1 1", "BEGIN e.x", "ENDING e.x: triple-fault")
    assert reader.ending == "triple-fault"


@pytest.mark.parametrize(
    "lines",
    [
        ("PASS a.x",),
        ("BEGIN a.x", "PASS a.y"),
        ("BEGIN a.x", "PASS a.x extra"),
        ("BEGIN a.x", "PASSED a.x"),
        ("BEGIN A.X", "PASS A.X"),
        ("[    0.1] BEGIN a.x", "PASS a.x"),
    ],
)
def test_what_does_not_fit_is_no_result(lines: tuple[str, ...]) -> None:
    assert read(*lines)[1] == []


def test_a_result_counts_once() -> None:
    _, results = read("BEGIN a.x", "FAIL a.x: no", "BEGIN a.x", "PASS a.x")
    assert results == [Result("a.x", Verdict.FAILED, "no")]


def test_another_version_is_an_error() -> None:
    with pytest.raises(ValueError, match="speaks version 2, not 1"):
        read("bringup-cpu 2 10")


def test_reasons_are_cut_and_clean() -> None:
    _, [result] = read("BEGIN a.x", "FAIL a.x: \x1b[2J" + "y" * 1000)
    assert len(result.why) == WHY_MAXIMUM and result.why.startswith("?[2J")


@given(st.lists(st.text(max_size=80), max_size=20))
def test_any_text_is_survived(lines: list[str]) -> None:
    reader, results = read(*lines)
    assert len(results) == len(reader.done)


def test_the_catalogue_is_what_the_sources_declare() -> None:
    assert len(names()) == len(set(names())) >= 180
    assert all(behaviour.what for behaviour in behaviours())
    assert {behaviour.ending for behaviour in behaviours()} == {"", "triple-fault", "power-off", "reset"}


def test_deviations_name_behaviours_that_exist() -> None:
    for deviation in deviations.load().deviation:
        for name in deviation.behaviours:
            assert name in names(), name
    assert deviations.known(load("qemu"), "msr.pat") and not deviations.known(load("bringup"), "msr.pat")


OWN = """\
[[deviation]]
behaviours = ["msr.p?t"]
reason = "mine"

[[deviation]]
behaviours = ["paging.*"]
reason = "was mine"
until = 2026-01-01

[[deviation]]
behaviours = ["debug.icebp"]
reason = "is mine"
until = 2999-01-01
"""


def own(path: Path, more: str, like: str = "") -> LoadedVmm:
    """A VMM of a user's own, whose file says more."""
    text = (resources.files("bringup.harness.vmms") / "qemu.toml").read_text()
    path.write_text(f"{like}\n{text}\n{more}".replace('name = "qemu"', 'name = "mine"'))
    return load(str(path))


def test_a_vmm_s_own_file_has_deviations_too(tmp_path: Path) -> None:
    vmm = own(tmp_path / "mine.toml", OWN)
    assert deviations.known(vmm, "msr.pat") == ("mine's file", "mine")
    assert deviations.known(vmm, "debug.icebp") == ("mine's file", "is mine")
    assert deviations.known(vmm, "paging.restart") is None  # no longer
    assert deviations.known(vmm, "exceptions.alignment_check") is None
    deviations.check(vmm)


def test_a_vmm_that_is_like_another_has_its_deviations(tmp_path: Path) -> None:
    vmm = own(tmp_path / "mine.toml", OWN, like='like = "qemu"')
    known = deviations.known(vmm, "exceptions.alignment_check")
    assert known and known.where == "QEMU 7.2 TCG"
    assert deviations.known(vmm, "msr.pat") == ("mine's file", "mine")


def test_a_deviation_of_no_behaviour_is_an_error(tmp_path: Path) -> None:
    vmm = own(tmp_path / "mine.toml", '[[deviation]]\nreason = "mine"\nbehaviours = ["msr.pat", "amiga.*"]')
    line = vmm.text.count("\n") + 1
    message = rf"mine.toml:{line}: deviation\[0\].behaviours\[1\]: no behaviour is called 'amiga.\*'"
    with pytest.raises(VmmError, match=message):
        deviations.check(vmm)
