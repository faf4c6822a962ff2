"""This host: its fingerprint, its speed, its /dev/kvm."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bringup.harness import calibration, host, kvm
from bringup.harness.limits import Scale


def test_the_fingerprint_is_of_this_host() -> None:
    found = host.fingerprint(Scale(1.25))
    assert found.cpu and found.system and found.kernel == os.uname().release
    assert 0 < found.cpus <= (os.cpu_count() or 1)
    assert 1 << 26 < host.memory_available() <= found.memory
    assert found.scale == 1.25
    assert found.kvm in map(str, kvm.Kvm)


@pytest.mark.parametrize(("seconds", "factor"), [(0.1, 1.0), (1.0, 1.0), (2.5, 2.5), (1e6, calibration.CAP)])
def test_the_scale_is_never_below_1_and_capped(seconds: float, factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "work", lambda: seconds * calibration.REFERENCE)
    assert calibration.calibrate().factor == pytest.approx(factor)


def test_the_median_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = iter([90.0, 2.0, 2.0, 80.0, 2.0])
    monkeypatch.setattr(calibration, "work", lambda: next(tries) * calibration.REFERENCE)
    assert calibration.calibrate().factor == pytest.approx(2.0)


def test_a_host_without_kvm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kvm, "DEVICE", tmp_path / "kvm")
    assert kvm.kvm_state() is kvm.Kvm.NONE
    (tmp_path / "kvm").write_text("")
    (tmp_path / "kvm").chmod(0)
    if os.geteuid() != 0:  # to root nothing is closed
        assert kvm.kvm_state() is kvm.Kvm.CLOSED
    with pytest.raises(OSError):
        kvm.measure()


def test_a_loop_under_kvm() -> None:
    if kvm.kvm_state() not in (kvm.Kvm.HARDWARE, kvm.Kvm.SLOW):
        pytest.skip(f"/dev/kvm: {kvm.kvm_state()}")
    assert kvm.measure(seconds=30) > 1e4
