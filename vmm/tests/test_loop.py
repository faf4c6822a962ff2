"""The run loop over a fake guest: endings, air, idleness, signals."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import pytest

from bringup.vmm.loop import Ending, Poller, Watch
from bringup.vmm.spec import MIB, Clock, MachineSpec


class FakeLine:
    """A line whose reader and writer is the test."""

    def __init__(self) -> None:
        self.output = b""
        self.congested = False
        self.waiting = False
        self.at_end = True
        self.pumps = 0

    def send(self, data: bytes) -> None:
        self.output += data

    def pump(self) -> bool:
        self.pumps += 1
        return False


@pytest.mark.parametrize(
    ("kind", "detail", "status", "text"),
    [
        ("POWER_OFF", 0, 0, "power-off"),
        ("TRIPLE_FAULT", 0, 11, "triple fault"),
        ("PANIC", 0, 12, "guest panic"),
        ("DEBUG_EXIT", 0x10, 0x21, "debug exit 0x10"),
        ("DEBUG_EXIT", 0xFF, 0xFF, "debug exit 0xff"),
        ("DEBUG_EXIT", 0x12345678, 0xF1, "debug exit 0x12345678"),
        ("INTERNAL", 0, 70, "internal error: no handler for exit reason 77"),
    ],
)
def test_endings(bench: Any, guests: Any, kind: str, detail: int, status: int, text: str) -> None:
    def guest(machine: Any) -> Any:
        yield guests.Print(b"bye")
        yield guests.End(kind, detail, "no handler for exit reason 77")

    line = FakeLine()
    run = bench(guest, lines=[line]).free()
    assert run.ending[:2] == (status, text)
    assert line.output == b"bye"


def test_the_budget_is_exact(bench: Any, guests: Any) -> None:
    run = bench(lambda machine: iter([guests.Work(10**9)]), budget=12345).free()
    assert run.ending == Ending(13, "budget of 12345 instructions spent")
    assert run.fake.count == 12345


def test_a_guest_that_ends_with_its_budget_has_ended(bench: Any, guests: Any) -> None:
    run = bench(lambda machine: iter([guests.Work(10), guests.End("POWER_OFF")]), budget=11).free()
    assert run.ending.status == 0


@pytest.mark.parametrize("air_every", [1, 7, 10_000])
def test_air_has_no_effect(bench: Any, guests: Any, air_every: int) -> None:
    def guest(machine: Any) -> Any:
        for _ in range(20):
            yield guests.Work(1000)
            yield guests.Print(b"tick ")
            yield guests.Halt(1_000_000)
        yield guests.End("POWER_OFF")

    line = FakeLine()
    run = bench(guest, air_every=air_every, lines=[line]).free()
    assert run.ending.status == 0
    assert (run.fake.count, run.fake.time) == (20 * 1005, 20 * 1_001_005)
    assert line.output == b"tick " * 20


@pytest.mark.parametrize("no_reboot", [True, False])
def test_a_reset_boots_again_or_ends(bench: Any, guests: Any, no_reboot: bool) -> None:
    boots = []

    def guest(machine: Any) -> Any:
        boots.append(machine.count)
        yield guests.Work(100)
        yield guests.End("RESET" if len(boots) < 3 else "POWER_OFF")

    run = bench(guest, no_reboot=no_reboot).free()
    assert run.ending == (Ending(10, "reset") if no_reboot else Ending(0, "power-off", quiet=True))
    assert boots == ([0] if no_reboot else [0, 100, 200])


def test_output_of_unconnected_ports_is_dropped(bench: Any, guests: Any) -> None:
    def guest(machine: Any) -> Any:
        for channel in range(5):
            yield guests.Print(bytes([65 + channel]), channel)
        yield guests.End("POWER_OFF")

    lines = [FakeLine(), FakeLine()]
    assert bench(guest, lines=lines).free().ending.status == 0
    assert [line.output for line in lines] == [b"A", b"B"]


def test_idle_for_ever_with_nobody_to_wake_it(bench: Any, guests: Any) -> None:
    assert bench(lambda machine: iter([guests.Halt()]), lines=[FakeLine()]).free().ending == Ending(14, "idle for ever")


def test_no_interrupt_can_wake_a_guest_that_masks_them(bench: Any, guests: Any) -> None:
    line = FakeLine()
    line.at_end = False
    run = bench(lambda machine: iter([guests.Halt(deaf=True)]), lines=[line], controlled=True).free()
    assert run.ending.status == 14


def test_an_idle_guest_waits_for_input_that_may_come(bench: Any, guests: Any) -> None:
    def guest(machine: Any) -> Any:
        yield guests.Halt()
        yield guests.Print(machine.read())
        yield guests.End("POWER_OFF")

    line = FakeLine()
    line.at_end = False
    run = bench(guest, lines=[line])
    source, sink = os.pipe()

    def arrive() -> None:
        run.machine.send(0, os.read(source, 100))

    run.runner.poller.watch(source, read=arrive)
    run.free()
    time.sleep(0.05)
    assert run.runner.ending is None
    os.write(sink, b"key")
    assert run.ending.status == 0
    assert line.output == b"key"
    os.close(source)
    os.close(sink)


def test_input_that_waited_for_room_wakes_an_idle_guest(bench: Any, guests: Any) -> None:
    def guest(machine: Any) -> Any:
        for _ in range(3):
            yield guests.Halt()
            machine.read()
        yield guests.End("POWER_OFF")

    class Waiting(FakeLine):
        def pump(self) -> bool:
            return bool(run.machine.send(0, b"more"))

    line = Waiting()
    line.at_end = False
    run = bench(guest, lines=[line])
    assert run.free().ending.status == 0


def test_a_guest_waits_for_a_congested_line(bench: Any, guests: Any) -> None:
    def guest(machine: Any) -> Any:
        while True:
            yield guests.Work(1)

    line = FakeLine()
    run = bench(guest, lines=[line])
    run.runner.poller.longest = 0.01
    line.congested = True
    run.free()
    pumps = line.pumps
    while line.pumps < pumps + 5:
        time.sleep(0.01)
    assert run.fake.count == 0
    line.congested = False
    while run.fake.count == 0:
        time.sleep(0.01)


def test_host_time_sleeps_until_the_deadline(fake_core: Any, bench: Any, guests: Any) -> None:
    spec = MachineSpec(memory=2 * MIB, clock=Clock.HOST)
    run = bench(lambda machine: iter(()), spec=spec)
    kinds = iter(["IDLE", "IDLE", "POWER_OFF"])

    def halted(machine: Any, limits: Any) -> tuple[str, int, str]:
        machine.deadline = machine.time + 40_000_000
        return next(kinds), 0, ""

    run.core.lib._run = halted
    start, cpu = time.monotonic(), time.process_time()
    assert run.free().ending.status == 0
    assert 0.08 <= time.monotonic() - start < 5
    assert time.process_time() - cpu < 0.05


def test_signals_end_a_run_and_handlers_come_back(bench: Any, guests: Any) -> None:
    def guest(machine: Any) -> Any:
        while True:
            yield guests.Work(1)

    before = [signal.getsignal(number) for number in Watch.SIGNALS]
    for number in Watch.SIGNALS:
        run = bench(guest)
        with Watch(run.runner):
            timer = threading.Timer(0.05, os.kill, (os.getpid(), number))
            timer.start()
            assert run.runner.run() == Ending(128 + number, f"ended by {signal.Signals(number).name}")
            timer.join()
    assert [signal.getsignal(number) for number in Watch.SIGNALS] == before


def test_a_signal_ends_a_machine_that_sleeps(bench: Any, guests: Any) -> None:
    run = bench(lambda machine: iter([guests.Halt()]), controlled=True)
    with Watch(run.runner):
        timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM))
        timer.start()
        assert run.runner.run().status == 143
        timer.join()


def test_the_poller_waits_less_than_a_millisecond_too() -> None:
    poller = Poller()
    start = time.perf_counter()
    for _ in range(10):
        poller.wait(0.0005)
    assert 0.005 <= time.perf_counter() - start < 5


def test_the_poller_forgets() -> None:
    poller = Poller()
    source, sink = os.pipe()
    seen: list[str] = []
    poller.watch(source, read=lambda: seen.append("read"))
    poller.watch(sink, write=lambda: seen.append("write"))
    poller.wait(0)
    assert seen == ["write"]
    os.write(sink, b"x")
    poller.watch(sink)
    poller.wait(None)
    assert seen == ["write", "read"]
    poller.forget(source)
    poller.forget(source)
    poller.wait(0)
    assert seen == ["write", "read"]
    os.close(source)
    os.close(sink)
