"""What to build: pure data, and the parsers of the values that a command line states.

Every default is fixed, so that two runs of the same command are equal to the last instruction.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

DEFAULT_MEMORY = 512 * MIB
DEFAULT_CPU = "x86-64-v2"
DEFAULT_SEED = 0x6272_696E_6775_7021
# The first second of 2027, UTC: later than the files of the guests that boot today, so that none is from their future.
DEFAULT_RTC = 1798761600

# Instructions of a vCPU's turn when there are several: docs/architecture.md, "Several vCPUs".
DEFAULT_SLICE = 10_000

MEMORY_MINIMUM = 2 * MIB
MEMORY_MAXIMUM = 256 * GIB
SEED_MAXIMUM = 2**64 - 1
FIRMWARE_MAXIMUM = 16 * MIB  # MACHINE_MAX_FIRMWARE of core/machine.h
CPUS_MAXIMUM = 254  # MACHINE_MAX_CPUS of core/machine.h
SLICE_MAXIMUM = 2**32 - 1
# What the RTC's calendar and century registers can state (MC146818A data sheet): years 1970 to 9999.
RTC_MAXIMUM = 253402300799


class Accel(IntEnum):
    """How vCPUs run: `enum machine_accel` of core/machine.h."""

    VTX = 0
    BARE = 1


class Clock(IntEnum):
    """What guest time follows: `enum machine_clock` of core/machine.h."""

    VIRTUAL = 0
    HOST = 1


class SpecError(ValueError):
    """A machine that cannot be built as asked; the text is one line for the person who asked."""


@dataclass(frozen=True)
class MachineSpec:
    """A machine's hardware. `memory` is in bytes, `rtc` in seconds since 1970 UTC at guest time 0, `slice` in
    instructions; `firmware` is the ROM that ends at 4 GiB, `items` what it
    reads by selector (boot/fw_cfg.py)."""

    memory: int = DEFAULT_MEMORY
    accel: Accel = Accel.VTX
    clock: Clock = Clock.VIRTUAL
    cpu: str = DEFAULT_CPU
    cpus: int = 1
    slice: int = DEFAULT_SLICE
    seed: int = DEFAULT_SEED
    rtc: int = DEFAULT_RTC
    debug_exit: bool = False
    firmware: bytes = b""
    items: tuple[tuple[int, bytes], ...] = ()

    def __post_init__(self) -> None:
        if self.memory < MEMORY_MINIMUM or self.memory % MIB:
            raise SpecError(f"memory is {self.memory} bytes: it must be a multiple of 1M, at least 2M")
        if self.memory > MEMORY_MAXIMUM:
            raise SpecError(f"memory is {self.memory} bytes: there can be at most 256G")
        if not 1 <= self.cpus <= CPUS_MAXIMUM:
            raise SpecError(f"cpus is {self.cpus}: a machine has 1 to {CPUS_MAXIMUM} vCPUs")
        if not 1 <= self.slice <= SLICE_MAXIMUM:
            raise SpecError(f"slice is {self.slice}: it must be 1 to {SLICE_MAXIMUM} instructions")
        if not 0 <= self.seed <= SEED_MAXIMUM:
            raise SpecError(f"seed is {self.seed}: it must fit 64 bits")
        if self.firmware and (len(self.firmware) % (64 * KIB) or len(self.firmware) > FIRMWARE_MAXIMUM):
            raise SpecError(f"the firmware has {len(self.firmware)} bytes: it must be a multiple of 64K, at most 16M")
        if not 0 <= self.rtc <= RTC_MAXIMUM:
            raise SpecError(f"rtc is {self.rtc}: it must lie in the years 1970 to 9999")


def parse_number(text: str) -> int:
    """A whole number, decimal or with 0x; `_` may group digits."""
    if not re.fullmatch(r"0[xX][0-9a-fA-F_]{1,20}|[0-9][0-9_]{0,24}", text):
        raise SpecError("not a whole number")
    try:
        return int(text, 16 if text[:2] in ("0x", "0X") else 10)
    except ValueError:
        raise SpecError("not a whole number") from None


def parse_size(text: str) -> int:
    """Bytes from `512M`, `1G`, `65536K`; without a unit, MiB (as QEMU's -m)."""
    match = re.fullmatch(r"([0-9]{1,12})([KMGT]?)(?:i?B)?", text, re.IGNORECASE)
    if not match:
        raise SpecError("not a size such as 512M or 2G")
    return int(match[1]) * {"K": KIB, "": MIB, "M": MIB, "G": GIB, "T": GIB * KIB}[match[2].upper()]


def parse_count(text: str) -> int:
    """A number of instructions, at least 1; `K`, `M` and `G` are powers of 1000 here, as for time."""
    match = re.fullmatch(r"(.+?)([KMG]?)", text, re.IGNORECASE)
    scale = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}[match[2].upper() if match else ""]
    count = parse_number(match[1] if match else text) * scale
    if not 1 <= count < 2**64 - 1:
        raise SpecError("not between 1 and 2^64 - 2")
    return count


def parse_cpus(text: str) -> int:
    """A number of vCPUs."""
    cpus = parse_number(text)
    if not 1 <= cpus <= CPUS_MAXIMUM:
        raise SpecError(f"a machine has 1 to {CPUS_MAXIMUM} vCPUs")
    return cpus


def parse_slice(text: str) -> int:
    """Instructions of a vCPU's turn."""
    with suppress(SpecError):
        if (count := parse_count(text)) <= SLICE_MAXIMUM:
            return count
    raise SpecError(f"not a number of instructions from 1 to {SLICE_MAXIMUM}")


def parse_seed(text: str) -> int:
    """A 64-bit number."""
    seed = parse_number(text)
    if seed > SEED_MAXIMUM:
        raise SpecError("more than 64 bits")
    return seed


def parse_rtc(text: str) -> int:
    """Seconds since 1970 UTC from `2027-01-01T00:00:00` (UTC unless it says otherwise), `@SECONDS` or `now`."""
    if text == "now":
        return int(datetime.now(UTC).timestamp())
    if text.startswith("@"):
        seconds = parse_number(text[1:])
    else:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise SpecError("not a time such as 2027-01-01T00:00:00, @SECONDS or now") from None
        seconds = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    if not 0 <= seconds <= RTC_MAXIMUM:
        raise SpecError("outside the years 1970 to 9999")
    return seconds
