"""Between pytest's outcomes and ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bringup.harness.attempt import Attempt, describe
from bringup.harness.bundle import rendered
from bringup.harness.climb import FAULTS, Fell
from bringup.harness.errors import HarnessError
from bringup.harness.expected import expected_failure
from bringup.harness.machine.ending import MachineError
from bringup.harness.media.resolve import MediaError, MediaMissing
from bringup.harness.outcome import Blame
from bringup.harness.plugin import options
from bringup.harness.prepare import Unsupported
from bringup.harness.vmms.loader import LoadedVmm

OURS = Path(__file__).parents[2]
LAST, WIDTH = 10, 200
"""Lines of a console that are shown of a failure, and their characters."""
ATTEMPT = pytest.StashKey[Attempt]()
"""The attempt that a test makes."""
HUNG_UP = "cannot send"
"""What execnet says in a worker whose controller is gone."""


@contextmanager
def skips(item: pytest.Item) -> Iterator[None]:
    """A guest that cannot be tried here skips with the reason, and one that is expected to fall does."""
    try:
        with _interruptions(item):
            yield
    except (MediaMissing, Unsupported) as error:
        attempt = item.stash.get(ATTEMPT, None)
        if attempt is not None:
            if isinstance(error, MediaMissing) and options.requires_media(item.config, attempt.guest):
                raise MediaError(f"{error} (and media are required here)") from None
            if isinstance(error, Unsupported) and attempt.kind == "boot" and options.get(item.config, "require-guests"):
                raise MachineError(f"{error} (and guests must run here)", Blame.VMM) from None
            attempt.failed(error)
        pytest.skip(str(error))
    except Fell as error:
        attempt = item.stash.get(ATTEMPT, None)
        if attempt is None:
            raise
        expected = expected_failure(attempt.guest, attempt.vmm, attempt.way)
        if expected is None:
            raise
        attempt.failed(error)
        pytest.xfail(f"{expected.reference}: {expected.reason} ({error})")


@contextmanager
def _interruptions(item: pytest.Item) -> Iterator[None]:
    """What ends pytest itself never comes to the fixture that ends the attempt."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, pytest.exit.Exception):
        _interrupted(item)
        raise
    except OSError as error:
        if not hasattr(item.config, "workerinput") or not str(error).startswith(HUNG_UP):
            raise
        _interrupted(item)
        raise KeyboardInterrupt from error


def _interrupted(item: pytest.Item) -> None:
    if attempt := item.stash.get(ATTEMPT, None):
        attempt.complete = False


@contextmanager
def expectations(item: pytest.Function) -> Iterator[None]:
    """What a test's VMM must offer, and an expected failure that does not come: that is news, its entry has to go."""
    check_needs(item)
    yield
    attempt = item.stash.get(ATTEMPT, None)
    if attempt is None or attempt.kind != "boot" or not attempt.way.complete:
        return
    expected = expected_failure(attempt.guest, attempt.vmm)
    if expected is not None:
        pytest.fail(
            f"{attempt.guest.name} reaches rung {expected.rung!r} on {attempt.vmm.name}, which is expected to "
            f"fail ({expected.reference}): take the entry out",
            pytrace=False,
        )


def tell(item: pytest.Item, call: pytest.CallInfo[Any]) -> None:
    """Tells the attempt what its test raised, before the fixture ends it."""
    attempt = item.stash.get(ATTEMPT, None)
    if attempt is None or call.excinfo is None or call.when == "teardown":
        return
    error = call.excinfo.value
    if isinstance(error, pytest.skip.Exception) and attempt.is_passing:
        attempt.skipped(str(error))  # by the test itself
    elif not isinstance(error, (pytest.skip.Exception, pytest.xfail.Exception)):
        attempt.failed(error)


def short(item: pytest.Item, call: pytest.CallInfo[Any], report: pytest.TestReport) -> pytest.TestReport:
    """A failure as its reader needs it: of an error of a guest, a VMM or media, the line of the test that met it, and
    not our source; how far the guest got, what it said last, and the command that does it again."""
    if not report.failed or call.excinfo is None:
        return report
    of_ours = isinstance(call.excinfo.value, (Fell, HarnessError, *FAULTS))
    if of_ours and item.config.getoption("tbstyle") == "auto" and not item.config.getoption("fulltrace"):
        traceback = call.excinfo.traceback.cut(path=item.path)
        if Path(traceback[0].path) == item.path:  # else it came from a fixture of ours
            shown = traceback.filter(
                lambda entry: Path(entry.path) == item.path or not Path(entry.path).is_relative_to(OURS)
            )
            report.longrepr = call.excinfo.getrepr(style="short", chain=False, tbfilter=lambda _: shown)
        else:
            report.longrepr = call.excinfo.getrepr(style="value", chain=False)
    if (attempt := item.stash.get(ATTEMPT, None)) is not None and call.when != "teardown":
        report.sections.append((f"{attempt.guest.name} on {attempt.vmm.name}", summary(attempt)))
    return report


def summary(attempt: Attempt) -> str:
    """How far the guest got, the last lines of its consoles, the command that does it again."""
    lines = [describe(attempt)]
    for name, console in attempt.consoles.items():
        said = [line for line in rendered(console).splitlines() if line.strip()]
        lines += [f"{name} says at last:", *(f"  {line[:WIDTH]}" for line in said[-LAST:])] if said else []
    return "\n".join((*lines, f"to repeat: {attempt.repeat}"))


def check_needs(item: pytest.Item) -> None:
    """Unsupported, when the test needs what the VMM does not offer."""
    vmm = item.callspec.params.get("vmm") if hasattr(item, "callspec") else None
    if not isinstance(vmm, LoadedVmm):
        return
    for marker in options.OURS:
        found = item.get_closest_marker(marker)
        for need in found.kwargs.get("needs", ()) if found else ():
            if not hasattr(vmm.definition.capabilities, need):
                raise pytest.UsageError(f"{item.nodeid}: needs: there is no capability {need!r} (docs/vmm.md)")
            if not getattr(vmm.definition.capabilities, need):
                raise Unsupported(f"{vmm.name} does not offer {need}")
