"""Makes guests under one accelerator or both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bringup.vmm.spec import Accel

from .guests import Guest


@pytest.fixture(params=[Accel.VTX, Accel.BARE], ids=["vtx", "bare"])
def accel(request: pytest.FixtureRequest) -> Accel:
    return Accel(request.param)


@pytest.fixture
def make(accel: Accel) -> Iterator[Callable[..., Guest]]:
    """Makes guests of the accelerator under test."""
    guests: list[Guest] = []

    def make_guest(source: str, mode: str = "real", **spec: Any) -> Guest:
        guests.append(Guest(accel, source, mode, **spec))
        return guests[-1]

    yield make_guest
    for guest in guests:
        guest.machine.close()


@pytest.fixture
def both() -> Iterator[Callable[..., list[Guest]]]:
    """Makes the same guest under both accelerators, to compare them."""
    guests: list[Guest] = []

    def make_pair(source: str, mode: str = "real", **spec: Any) -> list[Guest]:
        pair = [Guest(accel, source, mode, **spec) for accel in Accel]
        guests.extend(pair)
        return pair

    yield make_pair
    for guest in guests:
        guest.machine.close()
