"""Fixtures: a guest, a VMM, and an attempt to bring them together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from bringup.guests.definition import Guest
    from bringup.harness.attempt import Attempt
    from bringup.harness.prepare import Overrides
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
    from bringup.harness.prepare import Overrides

    return Overrides()


@pytest.fixture
def until() -> str:
    """The rung where `booted` has the guest. Tests override this fixture."""
    return "shell"


@pytest.fixture
def bringup_session(request: pytest.FixtureRequest) -> Session:
    """This process's part of the run."""
    from bringup.harness.plugin.run import PluginRun

    return PluginRun.of(request.config).begin()


@pytest.fixture
def attempt(
    request: pytest.FixtureRequest, bringup_session: Session, guest: Guest, vmm: LoadedVmm, overrides: Overrides
) -> Iterator[Attempt]:
    """An attempt at the guest on the VMM: begun, not yet booted. What the test raises is what it ends with."""
    from bringup.harness.attempt import Attempt
    from bringup.harness.plugin import matrix, options, outcomes

    about = matrix.subject(request.node)
    if about is None:
        raise pytest.UsageError(f"{request.node.nodeid} uses `attempt` without the marker `guests`")
    with Attempt(
        bringup_session,
        guest,
        vmm,
        options.media(request.config),
        kind=about.kind,
        test=about.test,
        overrides=overrides,
        again=() if about.kind == "boot" else matrix.command(request.node),
    ) as made:
        request.node.stash[outcomes.ATTEMPT] = made
        outcomes.check_needs(request.node)
        yield made
    for name, value in made.properties.items():
        if value is not None:
            request.node.user_properties.append((name, str(value)))


@pytest.fixture
def booted(request: pytest.FixtureRequest, attempt: Attempt, until: str) -> Attempt:
    """An attempt whose guest is at the rung `until`. Tests of a class share the machine, for as long as they pass and
    the guest lives; it is booted anew for the next one then."""
    from bringup.harness.plugin.run import PluginRun

    attempt.arrive(until, PluginRun.of(request.config).shared)
    return attempt
