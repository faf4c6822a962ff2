"""How long to look before sleeping, by a clock of the test's."""

from itertools import pairwise

import pytest

from bringup.vmm.spin import REST_MAXIMUM, SPIN_SECONDS, Spin


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def spin(clock: Clock) -> Spin:
    return Spin(clock, processors=2)


def wait(spin: Spin, clock: Clock, seconds: float) -> bool:
    """Waits for what comes after so long; was it looked for all the time?"""
    spin.begin()
    comes = clock.now + seconds
    while clock.now < comes and spin.goes_on():
        clock.now += SPIN_SECONDS / 10
    looked = clock.now >= comes
    clock.now = max(clock.now, comes)
    spin.end()
    return looked


def test_what_comes_soon_is_looked_for(spin: Spin, clock: Clock) -> None:
    assert all(wait(spin, clock, SPIN_SECONDS / 2) for _ in range(1000))


def test_looking_is_bounded(spin: Spin, clock: Clock) -> None:
    spin.begin()
    looks = 0
    while spin.goes_on():
        clock.now += SPIN_SECONDS / 10
        looks += 1
    assert 9 <= looks <= 11
    assert not spin.goes_on()


def test_what_comes_late_is_looked_for_ever_less_often(spin: Spin, clock: Clock) -> None:
    looked = []
    for number in range(10 * REST_MAXIMUM):
        spin.begin()
        if spin.goes_on():
            looked.append(number)
            clock.now += 2 * SPIN_SECONDS
            assert not spin.goes_on()
        spin.end()
    gaps = [later - earlier - 1 for earlier, later in pairwise(looked)]
    assert gaps[:8] == [1, 3, 7, 15, 31, 63, 63, 63]


def test_it_is_looked_for_again_when_it_comes_soon_again(spin: Spin, clock: Clock) -> None:
    for _ in range(1000):
        wait(spin, clock, 1.0)
    soon = [wait(spin, clock, SPIN_SECONDS / 2) for _ in range(2 * REST_MAXIMUM)]
    assert all(soon[REST_MAXIMUM:])
    assert not wait(spin, clock, 1.0)  # one late one costs half of what many did
    assert [wait(spin, clock, SPIN_SECONDS / 2) for _ in range(4)] != [False] * 4


def test_one_processor_sleeps_at_once(clock: Clock) -> None:
    spin = Spin(clock, processors=1)
    spin.begin()
    assert not spin.goes_on()


def test_sleeping_is_no_success(spin: Spin, clock: Clock) -> None:
    assert not wait(spin, clock, 1.0)
    spin.begin()  # rests
    assert not spin.goes_on()
    spin.end()
    assert not wait(spin, clock, 1.0)
    assert [wait(spin, clock, SPIN_SECONDS / 2) for _ in range(4)] == [False, False, False, True]
