"""Views of a machine for people: what QMP's human-monitor-command shows, a text a topic."""

from __future__ import annotations

from collections.abc import Callable

from ..machine import Machine
from .exits import counts, last
from .registers import registers

TOPICS: dict[str, Callable[[Machine], str]] = {
    "registers": registers,
    "exits": last,
    "exit-counts": counts,
}
"""`info TOPIC` of the monitor."""
