"""Places for machines, on a host that is made up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bringup.harness.machine.ending import MachineError
from bringup.harness.outcome import Blame
from bringup.harness.schedule.tokens import MIB, OVERHEAD, Capacity, Places

SMALL = Capacity(cpus=2, memory=6500 * MIB)
"""A runner of two cores and 7 GB."""
PATIENCE = 60.0


class Machine(threading.Thread):
    """Holds a place until it is told to end."""

    def __init__(self, places: Places, cpus: int, memory: int) -> None:
        super().__init__(daemon=True)
        self.places, self.cpus, self.memory = places, cpus, memory
        self.running, self.end = threading.Event(), threading.Event()
        waiting = len(list(places.folder.glob("*.place")))
        self.start()
        while len(list(places.folder.glob("*.place"))) <= waiting:  # it is in the queue
            time.sleep(0.001)

    def run(self) -> None:
        with self.places.reserve(self.cpus, self.memory * MIB):
            self.running.set()
            assert self.end.wait(PATIENCE)

    def runs(self, soon: bool = True) -> bool:
        """Does it run? `soon`: waits for it."""
        return self.running.wait(PATIENCE if soon else 0.2)

    def ends(self) -> None:
        self.end.set()
        self.join(PATIENCE)
        assert not self.is_alive()


def test_as_many_run_as_fit(tmp_path: Path) -> None:
    places = Places(tmp_path / "places", SMALL)
    first, second, third = (Machine(places, 1, 512) for _ in range(3))
    assert first.runs() and second.runs() and not third.runs(soon=False)
    first.ends()
    assert third.runs()
    second.ends()
    third.ends()
    assert not list(places.folder.glob("*.place"))


def test_nobody_overtakes_a_large_machine(tmp_path: Path) -> None:
    places = Places(tmp_path / "places", SMALL)
    small = Machine(places, 1, 512)
    assert small.runs()
    large = Machine(places, 8, 4096)  # takes all processors that there are
    late = Machine(places, 1, 512)
    assert not large.runs(soon=False) and not late.runs(soon=False)
    small.ends()
    assert large.runs() and not late.runs(soon=False)
    large.ends()
    assert late.runs()
    late.ends()


def test_memory_is_counted_too(tmp_path: Path) -> None:
    places = Places(tmp_path / "places", SMALL)
    one, other = Machine(places, 1, 4096), Machine(places, 1, 4096)
    assert one.runs() and not other.runs(soon=False)
    one.ends()
    assert other.runs()
    other.ends()


def test_what_can_never_fit_is_one_line(tmp_path: Path) -> None:
    places = Places(tmp_path / "places", SMALL)
    memory = SMALL.memory - OVERHEAD + 1
    with pytest.raises(
        MachineError, match=r"^a machine of 6308 MiB .* does not fit this host: 6500 MiB are there"
    ) as error:
        places.reserve(1, memory).__enter__()
    assert error.value.blame is Blame.HOST
    assert not places.folder.exists()


@pytest.mark.parametrize(
    ("cpus", "mib", "workers"), [(2, 6500, 2), (64, 6500, 9), (16, 1024, 1), (1, 65536, 1), (4, 100, 1)]
)
def test_workers_are_as_many_as_there_is_room_for(cpus: int, mib: int, workers: int) -> None:
    assert Capacity(cpus, mib * MIB).workers() == workers


def test_all_get_their_turn_on_a_small_host(tmp_path: Path) -> None:
    """Workers that go on asking for small machines, and one for all that the host has: each of them comes to its end,
    and the host never holds more than it can."""
    places, lock = Places(tmp_path / "places", SMALL), threading.Lock()
    held, worst = {"cpus": 0, "memory": 0}, {"cpus": 0, "memory": 0}

    def work(machines: list[tuple[int, int]]) -> None:
        for cpus, memory in machines:
            with places.reserve(cpus, memory * MIB):
                for sign in (1, -1):
                    with lock:
                        held["cpus"] += sign * min(cpus, SMALL.cpus)
                        held["memory"] += sign * (memory * MIB + OVERHEAD)
                        worst.update({name: max(worst[name], held[name]) for name in held})
                    time.sleep(0.01)

    workers = [[(1, 512)] * 10, [(1, 4096)] * 10, [(1, 256)] * 10, [(8, 6000)] * 3]
    threads = [threading.Thread(target=work, args=(machines,), daemon=True) for machines in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    assert worst["cpus"] <= SMALL.cpus and worst["memory"] <= SMALL.memory
    assert held == {"cpus": 0, "memory": 0}


def test_a_killed_holder_s_place_is_free(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path\n"
        "from bringup.harness.schedule.tokens import Capacity, Places\n"
        "with Places(Path(sys.argv[1]), Capacity(2, 2**33)).reserve(2, 2**20):\n"
        "    print('held', flush=True); time.sleep(60)\n"
    )
    folder = tmp_path / "places"
    with subprocess.Popen([sys.executable, "-c", program, folder], stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"held\n"
        waiting = Machine(Places(folder, SMALL), 1, 512)
        assert not waiting.runs(soon=False)
        os.kill(process.pid, signal.SIGKILL)
    assert waiting.runs()
    waiting.ends()
