"""Random code in every mode: no crash, no hang, no lost count, and the hypervisor changes nothing.

BRINGUP_RANDOM_INSTRUCTIONS sets how many instructions are run in all (`tox -e soak` runs 10^9 under the sanitizers),
BRINGUP_RANDOM_SEED with which program of a mode to begin.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from randomcode import MODES, Mode, prepare

from bringup.vmm.machine import Exit, ExitKind, Limits, Machine
from bringup.vmm.spec import Accel, MachineSpec

INSTRUCTIONS = int(os.environ.get("BRINGUP_RANDOM_INSTRUCTIONS", "1000000"))
FIRST_SEED = int(os.environ.get("BRINGUP_RANDOM_SEED", "0"))
STRETCH = 10_000  # instructions of one program
SPEC = MachineSpec(memory=2 << 20, cpu="max")


def begin(machine: Machine, mode: Mode, seed: int) -> int:
    """Resets the machine and loads a program; returns the count at its first instruction."""
    machine.reset()
    prepare(machine, mode, random.Random(f"{mode.name} {seed}"))
    return machine.count


def go_on(machine: Machine, count: int) -> Exit:
    """Runs to a count. A guest whose handler faults at its first instruction retires nothing for ever: AIR."""
    while True:
        before = machine.count
        end = machine.run(Limits(count=count, air_us=200_000))
        if end.kind != ExitKind.AIR or end.count == before:
            return end


def state(machine: Machine, end: Exit, before: int) -> tuple[ExitKind, int, int]:
    """How a program ended, the instructions it retired and the state it left."""
    return end.kind, end.count - before, 0 if end.kind == ExitKind.AIR else machine.state_hash()


def stretch(machine: Machine, mode: Mode, seed: int) -> tuple[ExitKind, int, int]:
    """One random program."""
    before = begin(machine, mode, seed)
    end = go_on(machine, before + STRETCH)
    assert end.kind != ExitKind.INTERNAL, f"{mode.name}, seed {seed}: {end}"
    retired = end.count - before
    assert retired <= STRETCH, f"{mode.name}, seed {seed}: {end}"
    if end.kind == ExitKind.LIMIT:
        assert retired == STRETCH, f"{mode.name}, seed {seed}: {end}"
    return state(machine, end, before)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_random_code(mode: Mode) -> None:
    done, seed = 0, FIRST_SEED
    while done < INSTRUCTIONS // len(MODES):
        with Machine(SPEC) as vtx, Machine(replace(SPEC, accel=Accel.BARE)) as bare:
            alike = True
            while alike and done < INSTRUCTIONS // len(MODES):
                results = stretch(vtx, mode, seed), stretch(bare, mode, seed)
                assert results[0] == results[1], f"{mode.name}, seed {seed}: {results}"
                done += 2 * results[0][1] + 2
                seed += 1
                # A program that AIR ended did so at some moment of the host's: clocks and RAM are no longer the same.
                alike = results[0][0] != ExitKind.AIR


@pytest.mark.parametrize("accel", Accel, ids=lambda accel: accel.name)
def test_slices_change_nothing(accel: Accel) -> None:
    """Stopping at any counts, kicks from another thread and short host slices, timers interrupting meanwhile."""
    spec, chance = replace(SPEC, accel=accel), random.Random(1)
    with Machine(spec) as whole, Machine(spec) as sliced:
        stop = threading.Event()

        def kick() -> None:
            while not stop.wait(0.0005):
                sliced._lib.machine_kick(sliced._machine)

        thread = threading.Thread(target=kick)
        thread.start()
        try:
            for mode in MODES:
                for seed in range(4):
                    expected = stretch(whole, mode, seed)
                    before = begin(sliced, mode, seed)
                    stops = [*sorted(chance.sample(range(STRETCH), 40)), STRETCH]
                    for count in stops:
                        end = sliced.run(Limits(count=before + count, air_us=chance.choice((0, 1, 100))))
                        for _ in range(100):  # a kick may come before anything retires; or nothing ever does
                            if end.kind != ExitKind.AIR:
                                break
                            end = sliced.run(Limits(count=before + count))
                        if end.kind != ExitKind.LIMIT:
                            break
                    assert state(sliced, end, before) == expected, f"{mode.name}, seed {seed}: {end}"
        finally:
            stop.set()
            thread.join()


HASHES = """
import random, sys
sys.path[:0] = sys.argv[1:]
from test_random_code import *
with Machine(SPEC) as machine:
    print([stretch(machine, mode, seed) for mode in MODES for seed in range(2)])
"""


def test_processes_agree() -> None:
    """The same programs twice in one process, and in another with another layout of addresses."""
    with Machine(SPEC) as one, Machine(SPEC) as two:
        first, second = ([stretch(m, mode, seed) for mode in MODES for seed in range(2)] for m in (one, two))
    assert first == second
    command = [sys.executable, "-c", HASHES, *sys.path]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert output.strip() == str(first)
