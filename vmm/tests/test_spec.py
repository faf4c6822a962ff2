"""Values that a command line states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bringup.vmm import spec
from bringup.vmm.machine import Machine
from bringup.vmm.spec import MIB, MachineSpec, SpecError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512M", 512 * MIB),
        ("512", 512 * MIB),
        ("2g", 2048 * MIB),
        ("4096K", 4 * MIB),
        ("1T", 1 << 40),
        ("64MiB", 64 * MIB),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert spec.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1M", "1.5G", "12Q", "0x10M", "1 G", "9" * 40, "\u0661M"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(SpecError, match="not a size"):
        spec.parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01", 0),
        ("2027-01-01T00:00:00", spec.DEFAULT_RTC),
        ("2027-01-01T01:00:00+01:00", spec.DEFAULT_RTC),
        ("@1798761600", spec.DEFAULT_RTC),
        ("9999-12-31T23:59:59", spec.RTC_MAXIMUM),
    ],
)
def test_times(text: str, seconds: int) -> None:
    assert spec.parse_rtc(text) == seconds


@pytest.mark.parametrize("text", ["", "yesterday", "@", "@-1", "1969-12-31", "2027-13-01", "@253402300800"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(SpecError):
        spec.parse_rtc(text)


@pytest.mark.parametrize(("text", "count"), [("1", 1), ("1_000", 1000), ("5M", 5 * 10**6), ("2g", 2 * 10**9)])
def test_counts(text: str, count: int) -> None:
    assert spec.parse_count(text) == count


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "M", "many", str(2**64 - 1), "_", "0x", "9" * 30])
def test_what_is_no_count(text: str) -> None:
    with pytest.raises(SpecError):
        spec.parse_count(text)


def test_seeds_have_64_bits() -> None:
    assert spec.parse_seed("0xffffffffffffffff") == 2**64 - 1
    with pytest.raises(SpecError, match="more than 64 bits"):
        spec.parse_seed("0x10000000000000000")


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"memory": MIB}, "memory is 1048576 bytes: it must be a multiple of 1M, at least 2M"),
        ({"memory": 5 * MIB + 1}, "multiple of 1M"),
        ({"cpus": 0}, "cpus is 0: a machine has 1 to 254 vCPUs"),
        ({"cpus": 255}, "cpus is 255"),
        ({"slice": 0}, "slice is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"rtc": -1}, "rtc is -1"),
    ],
)
def test_a_spec_checks_itself(wrong: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SpecError, match=complaint):
        MachineSpec(**wrong)


@given(st.text(max_size=40))
def test_any_text_is_a_value_or_an_error(text: str) -> None:
    for parse in (spec.parse_size, spec.parse_count, spec.parse_seed, spec.parse_rtc, spec.parse_number):
        try:
            assert parse(text) >= 0
        except SpecError as error:
            assert "\n" not in str(error)


def test_vcpus_and_their_turns() -> None:
    assert (spec.parse_cpus("1"), spec.parse_cpus("254")) == (1, 254)
    assert (spec.parse_slice("1"), spec.parse_slice("10K")) == (1, 10_000)


@pytest.mark.parametrize("text", ["0", "255", "1000", "-1", "two", ""])
def test_vcpus_that_cannot_be(text: str) -> None:
    with pytest.raises(SpecError):
        spec.parse_cpus(text)


@pytest.mark.parametrize("text", ["0", "-1", "5G", "4294967296", "long", ""])
def test_turns_that_cannot_be(text: str) -> None:
    with pytest.raises(SpecError, match="not a number of instructions from 1 to 4294967295"):
        spec.parse_slice(text)


def test_a_model_without_a_local_apic_is_alone() -> None:
    with pytest.raises(SpecError, match="2 vCPUs: CPU model '486' has no local APIC, so there can be 1"):
        Machine(MachineSpec(cpus=2, cpu="486"))


def test_nic() -> None:
    assert spec.parse_nic("none") is None
    assert spec.parse_nic("user") == spec.Nic()
    nic = spec.parse_nic("user,mac=52:54:00:AA:bb:01,tftp=/a,,b,bootfile=x.ipxe")
    assert nic == spec.Nic(bytes.fromhex("525400aabb01"), Path("/a,b"), "x.ipxe")


@pytest.mark.parametrize(
    "text", ["", "tap", "none,mac=1", "user,mac=52:54", "user,mac=53:54:00:00:00:01", "user,model=e1000", "user,x=1",
             f"user,bootfile={'x' * 128}"],
)  # fmt: skip
def test_wrong_nics(text: str) -> None:
    with pytest.raises(spec.SpecError):
        spec.parse_nic(text)
