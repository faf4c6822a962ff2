"""Fixtures: a guest, a VMM, and an attempt to bring them together."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bringup.guests.definition import Guest
from bringup.harness.attempt import Attempt, Overrides
from bringup.harness.media.resolve import Media
from bringup.harness.plugin import matrix, outcomes
from bringup.harness.plugin.run import RUN
from bringup.harness.session import Session
from bringup.harness.vmms.loader import LoadedVmm


@pytest.fixture
def guest(request: pytest.FixtureRequest) -> Guest:
    """The guest, in tests that are marked `guests`."""
    found: Guest = request.param
    return found


@pytest.fixture
def vmm(request: pytest.FixtureRequest) -> LoadedVmm:
    """The VMM, in tests that are marked `guests` or `vmms`."""
    found: LoadedVmm = request.param
    return found


@pytest.fixture
def overrides() -> Overrides:
    """What differs from the machine in the guest's file: nothing. Tests override this fixture."""
    return Overrides()


@pytest.fixture
def bringup_session(request: pytest.FixtureRequest) -> Session:
    """This process's part of the run."""
    return request.config.stash[RUN].begin()


@pytest.fixture
def attempt(
    request: pytest.FixtureRequest, bringup_session: Session, guest: Guest, vmm: LoadedVmm, overrides: Overrides
) -> Iterator[Attempt]:
    """An attempt at the guest on the VMM: begun, not yet booted. What the test raises is what it ends with."""
    about = matrix.subject(request.node)
    if about is None:
        raise pytest.UsageError(f"{request.node.nodeid} uses `attempt` without the marker `guests`")
    media = Media(offline=request.config.getoption("offline") or None)
    with Attempt(
        bringup_session,
        guest,
        vmm,
        media,
        kind="boot" if about.kind == "boot" else "test",
        test=about.test,
        overrides=overrides,
    ) as made:
        request.node.stash[outcomes.ATTEMPT] = made
        yield made
    for name, value in made.properties.items():
        if value is not None:
            request.node.user_properties.append((name, str(value)))
