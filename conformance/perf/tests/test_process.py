"""A program and its console: markers in order, CPU time, memory, and every way to end badly."""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from bringup.conformance.perf import measure
from bringup.conformance.perf.errors import PerfError
from bringup.conformance.perf.process import LINE_MAXIMUM, MIB, Process, TurnsProcess
from bringup.conformance.perf.program import Workload
from bringup.harness.machine.processes import cpu_seconds

CRC = Workload("crc", "CRC-32", 5)
READY, START, DONE = "@perf ready", "@perf start crc units=5", "@perf done"
END = "@perf end crc units=5 sum=00000000000000ff ticks=00000000000000000123"
TURNS = Path(__file__).with_name("turns_machine.py")


def python(program: str, timeout: float = 60) -> Process:
    return Process("vmm", [sys.executable, "-c", program], timeout)


def prints(lines: Sequence[str], then: str = "") -> Process:
    return python(f"import sys\nfor line in {list(lines)!r}: print(line, flush=True)\n{then}")


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_good_run() -> None:
    with prints(["[ 0.1] Linux", READY, START, END, "noise", DONE, "[ 3.6] reboot: Power down"]) as process:
        run = measure.follow(process, [CRC])
    assert run.sections["crc"].checksum == 255
    assert run.sections["crc"].ticks == 123
    assert run.boot_count is None
    assert run.memory is None
    assert gone(process.pid)


@pytest.mark.parametrize(
    ("lines", "then", "message"),
    [
        ([], "", r"^vmm ended with status 0 before the marker 'ready'; it says: nothing$"),
        ([READY], "sys.exit('no more memory')", r"status 1 before the marker 'start crc'; it says: no more memory$"),
        ([READY, START], "import os; os.kill(os.getpid(), 9)", r"status -9 before the marker 'end crc'"),
        ([READY, START, END], "", r"before the marker 'done'"),
        ([READY, START, END, DONE], "sys.exit(70)", r"^vmm ended with status 70 after the last marker"),
        ([READY, END], "", r"marker End\(name='crc'.* arrived where 'start crc' was due"),
        ([READY, START.replace("crc", "x87")], "", r"marker Start\(name='x87', units=5\) arrived where 'start crc'"),
        ([READY, START, END, DONE, DONE], "", r"marker Done\(\) arrived after the last one"),
        ([READY, "Kernel panic - not syncing: no"], "import time; time.sleep(60)", r"^vmm: the guest's kernel died"),
        ([READY, "@perf what"], "", r"^vmm: a marker that the guest program does not print"),
    ],
)
def test_a_bad_run_has_one_clear_line(lines: list[str], then: str, message: str) -> None:
    with pytest.raises(PerfError, match=message) as caught, prints(lines, then) as process:
        measure.follow(process, [CRC])
    assert len(str(caught.value).splitlines()) == 1
    assert gone(process.pid)


def test_a_vmm_that_is_not_there() -> None:
    with pytest.raises(PerfError, match=r"^vmm cannot be started: /no/such: No such file"):
        Process("vmm", ["/no/such"], 1)


def test_a_vmm_that_hangs() -> None:
    with (
        pytest.raises(PerfError, match=r"^vmm printed nothing for 0\.05 s$"),
        python("import time; time.sleep(60)", timeout=0.05) as process,
    ):
        measure.follow(process, [CRC])
    assert gone(process.pid)


def test_a_vmm_that_closes_its_console_and_stays() -> None:
    program = "import os, time; os.close(1); time.sleep(60)"
    with (
        pytest.raises(PerfError, match=r"^vmm closed its console and did not end in 0\.5 s$"),
        python(program, timeout=0.5) as process,
    ):
        measure.follow(process, [CRC])


def test_what_it_says_is_safe_to_print() -> None:
    with python(r"import sys; sys.stderr.write('first\n\x1b[2Jlast\x07\n\n')") as process:
        assert list(process.lines()) == []
        assert process.wait() == 0
        assert process.complaint() == "?[2Jlast?"


def test_a_line_without_end_is_cut() -> None:
    with python(f"import sys; sys.stdout.write('x' * {3 * LINE_MAXIMUM} + chr(10) + 'rest')") as process:
        texts = [line.text for line in process.lines()]
    assert b"".join(texts) == b"x" * 3 * LINE_MAXIMUM + b"rest"
    assert texts[-1] == b"rest"
    assert max(map(len, texts)) <= LINE_MAXIMUM + (1 << 16)


def test_cpu_time_is_of_the_process_and_its_children() -> None:
    burn = "import time\nwhile time.process_time() < 0.1: pass\nprint('burnt', flush=True)"
    program = f"import subprocess, sys\n{burn}\nsubprocess.run([sys.executable, '-c', {burn + chr(10) + 'input()'!r}])"
    with Process("vmm", ["sh", "-c", 'sleep 60 | exec "$0" -c "$1"', sys.executable, program], 60) as process:
        lines = process.lines()
        next(lines)
        one = process.cpu()
        next(lines)
        both = process.cpu()
    assert one >= 0.1
    assert both >= 0.2
    assert cpu_seconds(process.pid) == 0


def test_reading_cpu_time_lets_it_go_on() -> None:
    with prints([READY, START], f"print({END!r}); print({DONE!r})") as process:
        run = measure.follow(process, [CRC])
    assert run.sections["crc"].cpu >= 0
    assert run.boot > 0


def test_cpu_time_of_a_process_that_has_ended() -> None:
    with python("print('last words')") as process:
        for _ in process.lines():
            pass
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and process.cpu() == 0:
            pass
        assert process.cpu() > 0  # a zombie's still counts
        assert process.wait() == 0


RAM = f"""
import mmap, time
ram = mmap.mmap(-1, {64 * MIB}, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
ram.madvise(mmap.MADV_NOHUGEPAGE)
ram[:{8 * MIB}] = bytes({8 * MIB})
print("touched", flush=True)
time.sleep(60)
"""


def test_memory() -> None:
    with python(RAM) as process:
        next(process.lines())
        taken = process.memory(64 * MIB)
    assert 8 * MIB <= taken.guest <= 9 * MIB
    assert taken.peak > taken.guest
    assert taken.overhead == taken.peak - taken.guest


def test_memory_without_guest_ram() -> None:
    with python(RAM) as process:
        next(process.lines())
        with pytest.raises(PerfError, match="no mapping is as large as the guest's RAM of 1024 MiB"):
            process.memory(1024 * MIB)


def turns(*outputs: str) -> TurnsProcess:
    return TurnsProcess("vmm", [sys.executable, str(TURNS), *outputs], 60)


def test_a_run_in_turns() -> None:
    with turns("Linux\\n@perf re", "ady\\n", f"{START}\\n", f"{END}\\n", f"{DONE}\\n") as process:
        run = measure.follow(process, [CRC])
    assert run.sections["crc"].checksum == 255
    assert run.boot_count == 100 * (len("Linux\n" + READY + "\n") - 1)


def test_counts_of_lines_across_turns() -> None:
    with turns("a\\nbb", "", "b\\n\\nc\\n", "rest") as process:
        lines = [(line.text, line.count) for line in process.lines()]
    assert lines == [(b"a", 100), (b"bbb", 500), (b"", 600), (b"c", 800), (b"rest", None)]


def test_a_machine_that_dies_in_a_turn() -> None:
    with pytest.raises(PerfError, match=r"^vmm: .*hung up; it says: out of luck$"), turns("x\\n", "die") as process:
        measure.follow(process, [CRC])


def test_a_machine_that_never_listens() -> None:
    with (
        pytest.raises(PerfError, match=r"^vmm ended with status 2 before the marker 'ready'; it says: bad option$"),
        TurnsProcess("vmm", ["sh", "-c", "echo bad option >&2; exit 2"], 60) as process,
    ):
        measure.follow(process, [CRC])
