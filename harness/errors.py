"""The base of the harness's own errors."""


class HarnessError(Exception):
    """Something the user can act on; the message is one line that names what and where."""
