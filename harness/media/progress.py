"""What fetching tells whoever waits for it."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars


class Progress(Protocol):
    """Told what is fetched and how much of it is there, in percent; and, in one line, what somebody should know."""

    def update(self, what: str, percent: float) -> None:
        """From 0 to 100."""

    def note(self, line: str) -> None:
        """Worth knowing."""


class Silent:
    """Says nothing."""

    def update(self, what: str, percent: float) -> None:
        """Nothing."""

    def note(self, line: str) -> None:
        """Nothing."""


class Bar:
    """A bar for each thing that is fetched, on standard error; off a terminal, one line for each. A context manager,
    and silent until the first news: what is in the store is used in silence."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f} %")
        self._bars = Bars(*columns, console=self._console, disable=not self._console.is_terminal)
        self._tasks: dict[str, TaskID] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, type: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bars.stop()

    def update(self, what: str, percent: float) -> None:
        """Draws."""
        with self._lock:
            if what not in self._tasks:
                self._bars.start()
                self._tasks[what] = self._bars.add_task(f"fetching {what}", total=100)
                if not self._console.is_terminal:
                    self._console.print(f"fetching {what}", highlight=False, markup=False)
            self._bars.update(self._tasks[what], completed=percent)

    def note(self, line: str) -> None:
        """Prints."""
        self._console.print(f"bringup: {line}", highlight=False, markup=False, soft_wrap=True)
