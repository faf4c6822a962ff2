"""What Ctrl-C and SIGTERM (a cancelled CI job's) do to a run: once it ends cleanly and reports, twice at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

DEFAULTS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


class Signals:
    """Handlers in place of Python's own, if nobody else has set any."""

    def __init__(self, run: Path) -> None:
        """`run`: the folder that is told of at the end."""
        self._run, self._seen = run, 0
        self._old: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number, default in DEFAULTS.items():
                if signal.getsignal(number) == default:
                    self._old[number] = signal.signal(number, self._received)

    def restore(self) -> None:
        """Python's own again."""
        for number, handler in self._old.items():
            signal.signal(number, handler)
        self._old.clear()

    def _received(self, number: int, frame: FrameType | None) -> None:
        self._seen += 1
        if self._seen == 1:
            raise KeyboardInterrupt
        # No exception: it would come up from within pytest's own ending. Keepers end the machines of a driver that is
        # gone, and a start without an end in the records says what was running.
        with suppress(Exception):
            sys.stdout.flush()
        os.write(2, f"\nbringup: interrupted twice, ended at once; records: {self._run}\n".encode())
        os._exit(128 + number)
