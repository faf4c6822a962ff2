"""The run that a pytest session is, over all its workers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bringup.harness.plugin import options
from bringup.harness.plugin.signals import Signals
from bringup.harness.session import Session, begin_run, new_run_id

if TYPE_CHECKING:
    from bringup.harness.schedule.tokens import Capacity
    from bringup.harness.shared_machine import SharedMachine

PLACES = "places"
"""Folder in the run's, of harness/schedule/tokens.py."""
MARK = "BRINGUP_RUN"
"""Variable in the environment of every process that a run starts."""


@dataclass
class PluginRun:
    """What one process knows of the run. Its folder comes into being with the first attempt of any process."""

    config: pytest.Config
    folder: Path
    worker: str = "run"
    """Of xdist; `run` for the process that the user started."""
    told: Mapping[str, Any] = field(default_factory=dict)
    """A worker's: what `for_worker` of the controller says."""
    session: Session | None = field(default=None, init=False)
    status: int = field(default=0, init=False)
    signals: Signals | None = field(default=None, init=False)
    leaks: list[str] = field(default_factory=list, init=False)
    """What was left behind."""

    @classmethod
    def of(cls, config: pytest.Config) -> PluginRun:
        """This process's: the controller makes the run up, its workers are told."""
        run = config.stash.get(options.RUN, None)
        if run is None:
            told: Mapping[str, Any] | None = getattr(config, "workerinput", {}).get("bringup")
            if told is not None:
                worker: str = config.workerinput["workerid"]  # type: ignore[attr-defined]
                run = cls(config, Path(told["folder"]), worker, told)
            else:
                run = cls(config, options.output(config) / new_run_id())
            config.stash[options.RUN] = run
        return run

    def for_worker(self) -> dict[str, Any]:
        """What a worker is told, in types that xdist can send."""
        if not options.concerns_us(self.config):
            return {"folder": str(self.folder), "command": self.command}
        return {
            "folder": str(self.folder),
            "command": self.command,
            "capacity": (self.capacity.cpus, self.capacity.memory),
            "durations": dict(self.durations),
        }

    @property
    def command(self) -> list[str]:
        """What the user started."""
        known: list[str] | None = self.told.get("command")
        return known or ["pytest", *map(str, self.config.invocation_params.args)]

    @cached_property
    def capacity(self) -> Capacity:
        """What the machines of all workers may have."""
        from bringup.harness.schedule.tokens import Capacity

        return Capacity(*self.told["capacity"]) if "capacity" in self.told else Capacity.of_this_host()

    @cached_property
    def durations(self) -> Mapping[str, float]:
        """Host seconds of earlier attempts, by history key: the same in all workers, whose orders must be equal."""
        from bringup.harness.schedule.order import durations

        if self.worker != "run":
            known: Mapping[str, float] = self.told.get("durations", {})
            return known
        return durations(self.folder.parent)

    @cached_property
    def shared(self) -> SharedMachine:
        """The machine that tests of a class use one after the other."""
        from bringup.harness.shared_machine import SharedMachine

        return SharedMachine()

    @property
    def is_controller(self) -> bool:
        """Is this the process that the user started?"""
        return self.worker == "run"

    @property
    def begun(self) -> bool:
        """Has any process of the run made an attempt?"""
        return self.folder.is_dir()

    def mind_signals(self) -> None:
        """From now on Ctrl-C and SIGTERM end the run in its own way."""
        if self.signals is None:
            self.signals = Signals(self.folder)

    def follow(self) -> None:
        """Begins the session of a process whose workers have begun theirs: the run's own record is its."""
        if self.session is None and self.begun:
            self.begin()

    def begin(self) -> Session:
        """The session of this process, begun when it is first asked for."""
        from bringup.harness.schedule.tokens import Places

        if self.session is None:
            self.mind_signals()
            begin_run(self.folder, options.keep(self.config))
            os.environ[MARK] = self.folder.name
            self.session = Session(
                self.folder,
                command=tuple(self.command),
                worker=self.worker,
                seed=options.get(self.config, "seed"),
                keep_on_failure=self._announce if options.get(self.config, "keep-on-failure") else None,
                reserve=Places(self.folder / PLACES, self.capacity).reserve,
            )
        return self.session

    def release(self, item: pytest.Item, following: pytest.Item | None) -> None:
        """A test is over: the machine that it shared ends, unless the following one shares it, too."""
        from bringup.harness.plugin.matrix import unit

        if following is None or unit(item) != unit(following):
            self.shared.close()

    def _announce(self, line: str) -> None:
        """Says on the user's terminal how to attach to a machine that is held."""
        capture = self.config.pluginmanager.get_plugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture is not None else nullcontext():
            print(f"\nkept: {line}", flush=True)

    def finish(self, session: pytest.Session) -> None:
        """This process's tests are over: nothing of them may be left."""
        from bringup.harness.plugin import leaks

        self.shared.close()
        if self.is_controller and self.begun:
            leaks.check(session, self)
        self.status = int(session.exitstatus)
        if not self.is_controller:  # which does not wait for more
            self.close()

    def close(self) -> None:
        """Ends the records."""
        if self.signals is not None and self.is_controller:
            self.signals.restore()
        if self.session is not None:
            self.shared.close()
            interrupted = self.status == pytest.ExitCode.INTERRUPTED
            self.session.finish(self.status, interrupted=interrupted)
            self.session = None
