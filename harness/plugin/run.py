"""The run that a pytest session is, over all its workers."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bringup.harness.plugin import options
from bringup.harness.schedule.order import durations
from bringup.harness.schedule.tokens import Capacity, Places
from bringup.harness.session import Session, begin_run, new_run_id

PLACES = "places"
"""Folder in the run's, of harness/schedule/tokens.py."""
MARK = "BRINGUP_RUN"
"""Variable in the environment of every process that a run starts."""


@dataclass
class PluginRun:
    """What one process knows of the run. Its folder comes into being with the first attempt of any process."""

    config: pytest.Config
    folder: Path
    worker: str
    """Of xdist; `run` for the process that the user started."""
    capacity: Capacity
    durations: Mapping[str, float]
    """Host seconds of earlier attempts, by history key; the same in all workers."""
    session: Session | None = field(default=None, init=False)
    status: int = field(default=0, init=False)
    leaks: list[str] = field(default_factory=list, init=False)
    """What was left behind."""

    @classmethod
    def of(cls, config: pytest.Config) -> PluginRun:
        """The controller makes the run up, its workers are told."""
        told: Mapping[str, Any] | None = getattr(config, "workerinput", {}).get("bringup")
        if told is not None:
            worker: str = config.workerinput["workerid"]  # type: ignore[attr-defined]
            return cls(config, Path(told["folder"]), worker, Capacity(*told["capacity"]), told["durations"])
        output = options.output(config)
        known = durations(output) if options.concerns_us(config) else {}
        return cls(config, output / new_run_id(), "run", Capacity.of_this_host(), known)

    def for_worker(self) -> dict[str, Any]:
        """What a worker is told, in types that xdist can send."""
        capacity = (self.capacity.cpus, self.capacity.memory)
        return {"folder": str(self.folder), "capacity": capacity, "durations": dict(self.durations)}

    @property
    def is_controller(self) -> bool:
        """Is this the process that the user started?"""
        return self.worker == "run"

    @property
    def begun(self) -> bool:
        """Has any process of the run made an attempt?"""
        return self.folder.is_dir()

    def begin(self) -> Session:
        """The session of this process, begun when it is first asked for."""
        if self.session is None:
            begin_run(self.folder, options.keep(self.config))
            os.environ[MARK] = self.folder.name
            self.session = Session(
                self.folder,
                command=tuple(sys.argv) if self.is_controller else (),
                worker=self.worker,
                seed=self.config.getoption("seed"),
                keep_on_failure=self.config.getoption("keep_on_failure"),
                reserve=Places(self.folder / PLACES, self.capacity).reserve,
            )
        return self.session

    def finish(self, status: int) -> None:
        """The process's tests are over."""
        self.status = int(status)

    def close(self) -> None:
        """Ends the records."""
        if self.session is not None:
            interrupted = self.status == pytest.ExitCode.INTERRUPTED
            self.session.finish(self.status, interrupted=interrupted)
            self.session = None


RUN = pytest.StashKey[PluginRun]()
