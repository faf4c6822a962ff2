"""The pytest plugin: guests and VMMs as parameters, attempts as a fixture, a table at the end (docs/pytest.md).

Hooks only; what they do is in the modules beside, which are imported when there is a test with one of our markers: to
other projects' runs the plugin costs a few milliseconds.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from bringup.harness.plugin import options, progress
from bringup.harness.plugin.fixtures import attempt, booted, bringup_session, guest, overrides, until, vmm

if TYPE_CHECKING:
    from bringup.harness.plugin.run import PluginRun
    from bringup.harness.schedule.dispatch import LongestFirst

__all__ = ["attempt", "booted", "bringup_session", "guest", "overrides", "until", "vmm"]


def pytest_addoption(parser: pytest.Parser) -> None:
    options.add(parser)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(parser: pytest.Parser) -> Generator[None]:
    yield
    options.add_short_names(parser)


def pytest_configure(config: pytest.Config) -> None:
    for line in options.MARKERS:
        config.addinivalue_line("markers", line)
    if not hasattr(config, "workerinput"):
        options.check(config)
        config.pluginmanager.register(progress.Progress(config), "bringup-progress")


def pytest_unconfigure(config: pytest.Config) -> None:
    if run := _run_if_any(config):
        run.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if options.is_ours(metafunc.definition):
        from bringup.harness.plugin import matrix

        matrix.parametrize(metafunc)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if any(map(options.is_ours, items)):
        from bringup.harness.plugin import matrix
        from bringup.harness.plugin.run import PluginRun

        matrix.without_subject(config, items)
        matrix.far_backstop(config, items)
        items[:] = matrix.ordered(items, PluginRun.of(config).durations)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    if not options.is_ours(item):
        return (yield)
    from bringup.harness.plugin import outcomes

    with outcomes.skips(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    if not options.is_ours(pyfuncitem):
        return (yield)
    from bringup.harness.plugin import outcomes

    with outcomes.skips(pyfuncitem), outcomes.expectations(pyfuncitem):
        return (yield)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    if run := _run_if_any(item.config):
        run.release(item, nextitem)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    if options.is_ours(item):
        from bringup.harness.plugin import outcomes

        outcomes.tell(item, call)
        return outcomes.short(item, call, (yield))
    return (yield)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if run := _run_if_any(session.config):
        run.finish(session)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    run = _run_if_any(config)
    if run and run.is_controller and run.begun:
        from bringup.harness.plugin import summary

        summary.show(terminalreporter, run)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """xdist: a worker is told which run it belongs to."""
    from bringup.harness.plugin.run import PluginRun

    run = PluginRun.of(node.config)
    node.workerinput["bringup"] = run.for_worker()
    if options.concerns_us(node.config):
        run.mind_signals()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """xdist: as many workers as this host has room for machines."""
    if not options.concerns_us(config):
        return None
    from bringup.harness.schedule.tokens import Capacity

    return Capacity.of_this_host().workers()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LongestFirst | None:
    """xdist: one test at a time, the longest first; a guest is minutes, not milliseconds."""
    if not options.concerns_us(config) or config.getoption("dist") != "load":
        return None
    from bringup.harness.plugin import matrix
    from bringup.harness.schedule.dispatch import LongestFirst

    return LongestFirst(config, log, *matrix.subjects(config))


def _run_if_any(config: pytest.Config) -> PluginRun | None:
    return config.stash.get(options.RUN, None)
