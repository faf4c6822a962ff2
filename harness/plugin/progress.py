"""Rungs on the terminal as they are reached, wherever the worker runs."""

from __future__ import annotations

import pytest
from _pytest.subtests import SubtestReport

from bringup.guests.definition import Rung
from bringup.harness.attempt import Attempt
from bringup.harness.climb import OnRung
from bringup.harness.limits import SECOND, Moment

PREFIX = "rung "


def rung_as_subtest(attempt: Attempt, subtests: pytest.Subtests) -> OnRung:
    """A callback for `Attempt.climb` that makes each rung that is reached a subtest of its own."""

    def reached(rung: Rung, index: int, moment: Moment) -> None:
        where = [f"{attempt.guest.name} on {attempt.vmm.name}", f"{index + 1}/{len(attempt.way.rungs)} {rung.id}"]
        if moment.guest_ns is not None:
            where.append(f"{moment.guest_ns / SECOND:.3f} guest s")
        if moment.instructions is not None:
            where.append(f"{moment.instructions:,} instructions")
        with subtests.test(msg=PREFIX + "  ".join(where)):
            pass

    return reached


class Progress:
    """Of the controller: xdist sends the reports of subtests at once."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Shows a rung."""
        if isinstance(report, SubtestReport) and report.passed and (report.context.msg or "").startswith(PREFIX):
            terminal = self._config.pluginmanager.get_plugin("terminalreporter")
            if terminal is not None and self._config.get_verbosity() >= 0:
                terminal.ensure_newline()
                terminal.write_line(f"  {(report.context.msg or '').removeprefix(PREFIX)}")
