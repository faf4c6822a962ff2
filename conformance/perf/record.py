"""`bringup perf --perf-record`: where a VMM's CPU time goes during one workload, by perf(1)."""

import contextlib
import os
import signal
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from bringup.conformance.perf import markers, measure, program
from bringup.conformance.perf.errors import PerfError
from bringup.conformance.perf.measure import Boot, Vmm

BOOT = "boot"
SYMBOLS = 30
SAMPLES_PER_SECOND = 2000
LONGER = 10
"""Times the usual units of a workload, for a steadier picture."""


class Recorder:
    """`perf record` on a process, from `start` to `stop`."""

    def __init__(self, data: Path) -> None:
        """`data`: the file of samples to be written."""
        self.data = data
        self._perf: subprocess.Popen[bytes] | None = None
        self._pipes = contextlib.ExitStack()  # perf ends when they close

    def start(self, pid: int) -> None:
        """Returns when samples are being taken; PerfError when none can be."""
        control, acknowledgement = os.pipe(), os.pipe()
        commands = self._pipes.enter_context(os.fdopen(control[1], "wb", buffering=0))
        answers = self._pipes.enter_context(os.fdopen(acknowledgement[0], "rb", buffering=0))
        try:
            self._perf = subprocess.Popen(
                [
                    *("perf", "record", "-F", str(SAMPLES_PER_SECOND), "-o", str(self.data), "-p", str(pid)),
                    *("-D", "-1", "--control", f"fd:{control[0]},{acknowledgement[1]}"),
                ],
                pass_fds=[control[0], acknowledgement[1]],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
        except FileNotFoundError:
            self._pipes.close()
            raise PerfError("perf is not installed (Debian: linux-perf; Fedora: perf)") from None
        finally:
            os.close(control[0])
            os.close(acknowledgement[1])
        with contextlib.suppress(BrokenPipeError):
            commands.write(b"enable\n")
        if not answers.read(4):  # "ack", or the end: perf has gone
            self.stop()

    def stop(self) -> None:
        """Ends the recording; PerfError when there is none."""
        perf, self._perf = self._perf, None
        if perf is None:
            return
        perf.send_signal(signal.SIGINT)
        _, errors = perf.communicate()
        self._pipes.close()
        if perf.returncode not in (0, -signal.SIGINT) or not self.data.exists():
            raise PerfError(f"perf record: {_last_line(errors)}")


def record(vmm: Vmm, boot: Boot, name: str) -> str:
    """The symbols in which `vmm` spends most CPU time in the workload `name`, or booting: perf's table."""
    workloads = []
    if name != BOOT:
        usual = program.workload(name)
        workloads = [replace(usual, units=usual.units * LONGER)]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        recorder = Recorder(Path(folder) / "perf.data")
        process = stack.enter_context(vmm.start(Boot(boot.kernel, boot.initrd, program.append(boot.append, workloads))))
        stack.callback(recorder.stop)

        def watch(marker: markers.Marker) -> None:
            if isinstance(marker, markers.Start):
                recorder.start(process.pid)
            elif isinstance(marker, markers.Ready | markers.End):
                recorder.stop()

        if name == BOOT:
            recorder.start(process.pid)
        measure.follow(process, workloads, watch=watch)
        return _symbols(recorder.data)


def _symbols(data: Path) -> str:
    done = subprocess.run(
        ["perf", "report", "--quiet", "--stdio", "-i", str(data), "--no-children", "-F", "overhead,dso,symbol"],
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise PerfError(f"perf report: {_last_line(done.stderr.encode())}")
    lines = [line.rstrip() for line in done.stdout.splitlines() if line.strip() and not line.startswith("#")]
    return "\n".join(lines[:SYMBOLS]) or "perf took no sample"


def _last_line(errors: bytes) -> str:
    lines = [line for line in errors.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
