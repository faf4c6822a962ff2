"""`bringup doctor` on hosts that lack something."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path

import pytest

from bringup.harness import cpuinfo, doctor, host, kvm
from bringup.harness.cli import main
from bringup.harness.limits import Scale
from bringup.harness.vmms import loader

MIB = 1 << 20


def found(what: str) -> doctor.Finding:
    """What it finds about one thing."""
    [finding] = [finding for finding in doctor.examine() if finding.what == what]
    return finding


def test_this_host_is_good_enough(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    for what in ("processor", "memory", "disk", "/dev/kvm", "VMM bringup", "VMM qemu", "packages"):
        assert what in out
    works = [name for name in loader.names() if f"yes VMM {name}: " in out]
    assert out.splitlines()[-1] == (
        f"The suite works here, on {', '.join(works)}; begin with: bringup boot linux-debian12-cloud"
    )
    assert len([line for line in out.splitlines() if line.startswith("yes VMM bringup: bringup ")]) == 1


def test_an_old_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpuinfo, "cpu_flags", lambda: frozenset({"cx16", "popcnt", "ssse3"}))
    finding = found("processor")
    assert finding.good is False and finding.advice == "it is no x86-64-v2: sse4_1, sse4_2 missing"


def test_little_memory_is_no_success(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(host, "memory_available", lambda: 100 * MIB)
    assert found("memory").good is False
    assert main(["doctor"]) == 1
    assert capsys.readouterr().out.endswith("\nThe suite does not work here: memory.\n")


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(1, 1, 5 * MIB))
    assert found("disk").good is False and "5 MiB free" in found("disk").answer


def test_no_kvm_is_fine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kvm, "DEVICE", tmp_path / "kvm")
    assert found("/dev/kvm").good is None


def test_a_vmm_that_needs_what_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: path != "/dev/kvm")
    finding = found("VMM qemu-kvm")
    assert finding.good is None and "needs /dev/kvm: " in finding.answer


def test_kvm_that_does_not_work_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "kvm").write_text("no device")
    monkeypatch.setattr(kvm, "DEVICE", tmp_path / "kvm")
    finding = found("/dev/kvm")
    assert finding.good is None and finding.answer.startswith("does not work: ")


def test_no_qemu_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    loader._version.cache_clear()
    monkeypatch.setenv("PATH", "/nowhere")
    finding = found("VMM qemu")
    assert finding.good is None and "qemu-system-x86_64: No such file or directory" in finding.answer


def test_a_slow_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "calibrate", lambda: Scale(8.0))
    assert found("speed").good is None
