"""Which worker gets what: xdist's side is played by workers that are made up, with a clock of their own."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bringup.harness.schedule.dispatch import LongestFirst

PAIRS = ("tiny-qemu", "tiny-qemu-kvm", "tiny-bringup")
VMMS = ("qemu", "qemu-kvm", "bringup")


class Worker:
    """As xdist's own (remote.py): begins a test once it knows the next one, or that there is none."""

    def __init__(self, name: str) -> None:
        self.gateway = SimpleNamespace(id=name)
        self.queue: list[int] = []
        self.shutting_down = False
        self.began: float | None = None

    def send_runtest_some(self, indices: list[int]) -> None:
        assert not self.shutting_down
        self.queue += indices

    def shutdown(self) -> None:
        self.shutting_down = True

    @property
    def ready(self) -> bool:
        return len(self.queue) > 1 or bool(self.queue and self.shutting_down)


class Simulation:
    """Runs tests of known lengths, in the order of this mapping."""

    def __init__(self, lengths: Mapping[str, float], workers: int) -> None:
        self.tests = list(lengths)
        self.lengths = lengths
        self.workers = [Worker(f"gw{number}") for number in range(workers)]
        self.done: list[tuple[str, str]] = []
        """Worker and test, by the time of completion."""
        self.now = 0.0
        values = {"tx": ["popen"] * workers, "loadscopereorder": True}
        config = SimpleNamespace(getvalue=values.get, option=SimpleNamespace(**values))
        self.scheduler = LongestFirst(cast(Any, config), None, PAIRS, VMMS)
        for worker in self.workers:
            self.join(worker)
        self.scheduler.schedule()

    def join(self, worker: Worker) -> None:
        self.scheduler.add_node(cast(Any, worker))
        self.scheduler.add_node_collection(cast(Any, worker), self.tests)

    def step(self) -> bool:
        """To the next completion; False when nobody runs anything."""
        for worker in self.workers:
            if worker.began is None and worker.ready:
                worker.began = self.now
        running = [worker for worker in self.workers if worker.began is not None]
        if not running:
            return False

        def end(worker: Worker) -> float:
            assert worker.began is not None
            return worker.began + self.lengths[self.tests[worker.queue[0]]]

        first = min(running, key=end)
        self.now = end(first)
        index = first.queue.pop(0)
        first.began = None
        self.done.append((first.gateway.id, self.tests[index]))
        self.scheduler.mark_test_complete(cast(Any, first), index)
        return True

    def run(self) -> float:
        """Seconds to the end."""
        while self.step():
            pass
        assert sorted(test for _, test in self.done) == sorted(self.tests)
        assert self.scheduler.tests_finished
        return self.now


def longest_first(*lengths: float) -> dict[str, float]:
    return {f"test_ladder.py::test_ladder[{number}]": length for number, length in enumerate(lengths)}


def test_nothing_waits_behind_the_longest() -> None:
    """In tests by number the second longest would be held behind the longest: 300 s and 290 s after one another."""
    lengths = longest_first(300.0, 290.0, 280.0, *[10.0] * 20)
    assert Simulation(lengths, 2).run() <= sum(lengths.values()) / 2 + 150.0
    assert Simulation(longest_first(300.0, *[10.0] * 30), 2).run() <= 310.0


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
def test_the_end_is_near_the_best_that_there_can_be(workers: int) -> None:
    lengths = longest_first(*sorted((1.0 + 37 * number % 61 for number in range(50)), reverse=True))
    best = max(sum(lengths.values()) / workers, max(lengths.values()))
    assert Simulation(lengths, workers).run() <= 1.34 * best + 2.0  # Graham's 4/3 of longest first, and what is held


def test_more_workers_than_tests() -> None:
    simulation = Simulation(longest_first(3.0, 2.0), 4)
    assert simulation.run() == 3.0


def test_a_class_stays_together_for_each_guest_and_vmm() -> None:
    names = [f"test_cpu.py::TestCpu::test_{name}[{pair}]" for pair in ("qemu-kvm", "qemu") for name in "abcdef"]
    lengths = dict.fromkeys(["test_ladder.py::test_ladder[tiny-qemu]", *names], 1.0)
    simulation = Simulation(lengths, 2)
    simulation.run()
    for pair in ("[qemu-kvm]", "[qemu]"):
        assert len({worker for worker, test in simulation.done if "TestCpu" in test and test.endswith(pair)}) == 1


@pytest.mark.parametrize(
    ("nodeid", "unit"),
    [
        ("a.py::test_x[tiny-qemu]", "a.py::test_x[tiny-qemu]"),
        ("a.py::test_x", "a.py::test_x"),
        ("a.py::test_x[bts-qemu-kvm]", "a.py::test_x[qemu-kvm]"),
        ("a.py::test_x[qemu-bts]", "a.py::test_x[qemu]"),
        ("a.py::test_x[other]", "a.py::test_x[other]"),
        ("a.py::T::test_x[tiny-qemu-1of2]", "a.py::T[tiny-qemu]"),
        ("a.py::T::test_x[tiny-qemu-kvm]", "a.py::T[tiny-qemu-kvm]"),
        ("a.py::T::test_x[xchg::lock-bringup]", "a.py::T[bringup]"),
        ("a.py::T::test_x", "a.py::T[]"),
    ],
)
def test_units(nodeid: str, unit: str) -> None:
    assert Simulation({nodeid: 1.0}, 1).scheduler._split_scope(nodeid) == unit


def test_what_a_dead_worker_held_is_done_by_another_and_what_it_was_at_is_not() -> None:
    simulation = Simulation(longest_first(9.0, 8.0, 7.0, 1.0, 1.0, 1.0), 2)
    simulation.step()
    dead, other = simulation.workers
    assert dead.began is not None
    at, held = (simulation.tests[index] for index in dead.queue)
    simulation.workers = [other]
    assert simulation.scheduler.remove_node(cast(Any, dead)) == at
    while simulation.step():
        pass
    finished = [test for _, test in simulation.done]
    assert held in finished and at not in finished and len(finished) == len(simulation.tests) - 1
    assert simulation.scheduler.tests_finished


def test_a_worker_that_takes_the_place_of_a_dead_one() -> None:
    simulation = Simulation(longest_first(9.0, 8.0, 1.0), 1)
    [dead] = simulation.workers
    late = Worker("gw1")
    simulation.scheduler.remove_node(cast(Any, dead))
    simulation.workers = [late]
    simulation.join(late)
    simulation.scheduler.schedule()
    while simulation.step():
        pass
    assert [worker for worker, _ in simulation.done] == ["gw1", "gw1"]


def test_a_worker_that_had_nothing_left() -> None:
    simulation = Simulation(longest_first(1.0), 1)
    simulation.run()
    assert simulation.scheduler.remove_node(cast(Any, simulation.workers[0])) is None
