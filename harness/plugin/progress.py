"""Rungs on the terminal as they are reached, wherever the worker runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bringup.harness.plugin import options

if TYPE_CHECKING:
    from bringup.guests.definition import Rung
    from bringup.harness.attempt import Attempt
    from bringup.harness.climb import OnRung
    from bringup.harness.limits import Moment

PREFIX = "rung "


def rung_as_subtest(attempt: Attempt, subtests: pytest.Subtests) -> OnRung:
    """A callback for `Attempt.climb` that makes each rung that is reached a subtest of its own."""

    def reached(rung: Rung, index: int, moment: Moment) -> None:
        at = attempt.position()
        where = [f"{attempt.guest.name} on {attempt.vmm.name}", f"{index + 1}/{len(attempt.way.rungs)} {rung.id}"]
        where.append(f"{at.host:.1f} s")
        if at.guest_ns is not None:
            where.append(f"{at.guest_ns / 1e9:.3f} guest s")
        if at.instructions is not None:
            where.append(f"{at.instructions:,} instructions")
        with subtests.test(msg=PREFIX + "  ".join(where)):
            pass

    return reached


class Progress:
    """Of the process that the user started: xdist sends the reports of subtests at once."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Shows a rung."""
        if run := self._config.stash.get(options.RUN, None):
            run.follow()
        message = getattr(getattr(report, "context", None), "msg", None)  # of a subtest
        if not isinstance(message, str) or not message.startswith(PREFIX) or not report.passed:
            return
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None and self._config.get_verbosity() >= 0:
            if terminal._tw.width_of_current_line:  # a row of dots
                terminal._tw.line()
            terminal.write_line(f"  {message.removeprefix(PREFIX)}")
