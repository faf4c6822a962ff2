"""What is in a bundle."""

from __future__ import annotations

import re
import time

from standins import SOON, vmm

from bringup.harness import bundle
from bringup.harness.limits import Scale
from bringup.harness.machine.machine import start
from bringup.harness.machine.settings import Settings


def test_host_times_of_a_transcript_count_from_the_machine_s_start() -> None:
    before = time.monotonic()
    with start(vmm("shell"), Settings(memory=1 << 20), scale=Scale()) as machine:
        machine.console("serial0").expect_exact("$ ", SOON)
        assert before <= machine.began <= time.monotonic()
        text = bundle.transcript(machine.logs, machine.began)
        spent = time.monotonic() - before
    [seconds] = re.findall(r"^ *(\d+\.\d{6}) \[serial0\] fake kernel 1\.0$", text, re.MULTILINE)
    assert 0 <= float(seconds) <= spent
