"""Between pytest's outcomes and ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bringup.harness.attempt import Attempt, Unsupported, expected_failure
from bringup.harness.climb import Fell
from bringup.harness.media.resolve import MediaMissing
from bringup.harness.vmms.loader import LoadedVmm

ATTEMPT = pytest.StashKey[Attempt]()
"""The attempt that a test makes."""


@contextmanager
def skips(item: pytest.Function) -> Iterator[None]:
    """A guest that cannot be tried here skips with the reason, and one that is expected to fall does."""
    attempt = item.stash.get(ATTEMPT, None)
    try:
        _check_needs(item)
        with _interruptions(attempt):
            yield
    except (MediaMissing, Unsupported) as error:
        if attempt is not None:
            attempt.failed(error)
        if isinstance(error, MediaMissing) and item.config.getoption("require_media"):
            raise
        pytest.skip(str(error))
    except Fell as error:
        if attempt is None:
            raise
        attempt.failed(error)
        expected = expected_failure(attempt.guest, attempt.vmm, attempt.way)
        if expected is None:
            raise
        pytest.xfail(f"{expected.reference}: {expected.reason} ({error})")
    else:
        _check_expectation(attempt)


@contextmanager
def _interruptions(attempt: Attempt | None) -> Iterator[None]:
    """What ends pytest itself never comes to the fixture that ends the attempt."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, pytest.exit.Exception):
        if attempt is not None:
            attempt.complete = False
        raise


def _check_expectation(attempt: Attempt | None) -> None:
    """An expected failure that does not come is news, and its entry has to go."""
    if attempt is None or attempt.kind != "boot" or not attempt.way.complete:
        return
    expected = expected_failure(attempt.guest, attempt.vmm)
    if expected is not None:
        pytest.fail(
            f"{attempt.guest.name} reaches rung {expected.rung!r} on {attempt.vmm.name}, which its file expects to "
            f"fail ({expected.reference}): take the entry out",
            pytrace=False,
        )


def tell(item: pytest.Item, call: pytest.CallInfo[Any]) -> None:
    """Tells the attempt what its test raised, before the fixture ends it."""
    attempt = item.stash.get(ATTEMPT, None)
    if attempt is None or call.excinfo is None or call.when != "call":
        return
    error = call.excinfo.value
    if not isinstance(error, (pytest.skip.Exception, pytest.xfail.Exception)):
        attempt.failed(error)


def _check_needs(item: pytest.Function) -> None:
    """Unsupported, when the test needs what the VMM does not offer."""
    vmm = item.callspec.params.get("vmm") if hasattr(item, "callspec") else None
    if not isinstance(vmm, LoadedVmm):
        return
    for marker in ("guests", "vmms"):
        found = item.get_closest_marker(marker)
        for need in found.kwargs.get("needs", ()) if found else ():
            if not getattr(vmm.definition.capabilities, need):
                raise Unsupported(f"{vmm.name} does not offer {need}")
