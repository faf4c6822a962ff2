"""The pytest plugin: guests and VMMs as parameters, attempts as a fixture, a table at the end (docs/pytest.md).

Hooks only; what they do is in the modules beside. Where no test asks for a guest or a VMM, nothing happens.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from bringup.harness.plugin import leaks, matrix, options, outcomes, progress, summary
from bringup.harness.plugin.fixtures import attempt, bringup_session, guest, overrides, vmm
from bringup.harness.plugin.run import RUN, PluginRun

if TYPE_CHECKING:
    from bringup.harness.schedule.dispatch import LongestFirst

__all__ = ["attempt", "bringup_session", "guest", "overrides", "vmm"]


def pytest_addoption(parser: pytest.Parser) -> None:
    options.add(parser)


def pytest_configure(config: pytest.Config) -> None:
    for line in options.MARKERS:
        config.addinivalue_line("markers", line)
    config.stash[RUN] = PluginRun.of(config)
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(progress.Progress(config), "bringup-progress")


def pytest_unconfigure(config: pytest.Config) -> None:
    if RUN in config.stash:
        config.stash[RUN].close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    matrix.parametrize(metafunc)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    matrix.far_backstop(config, items)
    items[:] = matrix.ordered(items, config.stash[RUN].durations)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    with outcomes.skips(pyfuncitem):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    outcomes.tell(item, call)
    return (yield)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    run = session.config.stash[RUN]
    run.finish(exitstatus)
    if run.is_controller and run.begun:
        leaks.check(session, run)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    summary.show(terminalreporter, config.stash[RUN])


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """xdist: a worker is told which run it belongs to."""
    node.workerinput["bringup"] = node.config.stash[RUN].for_worker()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """xdist: as many workers as this host has room for machines."""
    return options.workers() if options.concerns_us(config) else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LongestFirst | None:
    """xdist: one test at a time, the longest first; a guest is minutes, not milliseconds."""
    if not options.concerns_us(config) or config.getoption("dist") != "load":
        return None
    from bringup.harness.schedule.dispatch import LongestFirst

    return LongestFirst(config, log, matrix.subjects(config))
