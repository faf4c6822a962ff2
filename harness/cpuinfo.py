"""The host's processor, by /proc/cpuinfo."""

from __future__ import annotations

import platform
import re
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def cpu_model() -> str:
    """The processor's name, as /proc/cpuinfo has it."""
    match = re.search(r"^model name\s*:\s*(.+)$", CPUINFO.read_text(), re.MULTILINE)
    return match[1] if match else platform.machine()


def cpu_flags() -> frozenset[str]:
    """The processor's features, by Linux's names."""
    match = re.search(r"^flags\s*:(.*)$", CPUINFO.read_text(), re.MULTILINE)
    return frozenset(match[1].split()) if match else frozenset()
