"""The base of what can go wrong in a measurement."""

from bringup.harness.errors import HarnessError


class PerfError(HarnessError):
    """A measurement that cannot be made; the message is one line that names what and where."""
