"""Tables on standard output."""

import pytest

from bringup.harness.tables import show


def test_a_heading_widens_no_column(capsys: pytest.CaptureFixture[str]) -> None:
    show(("name", "size"), (("what is wider than any name below it",), ("a", "1"), ("short",), ("bc", "22")), ("size",))
    assert capsys.readouterr().out.splitlines() == [
        "name  size", "what is wider than any name below it", "a        1", "short", "bc      22",
    ]  # fmt: skip
