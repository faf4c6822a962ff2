"""What the family makes of Linux kernels' logs; test_deaths.py has what they say when something is wrong."""

import re

import pytest

from bringup.guests.loader import load

FAMILY = load("linux-debian12-cloud").about


@pytest.mark.parametrize(
    ("line", "chatter"),
    [
        ("[    1.234567] e1000: Intel(R) PRO/1000 Network Driver", True),
        ("[12345.678901] a", True),
        ("[    1.234567][    T1] with a thread", True),
        ("<6>[    1.234567] with a level", True),
        ("bringup# ", False),
        ("[not] a log", False),
        ("x [    1.234567] begins elsewhere", False),
    ],
)
def test_chatter_is_a_whole_line_of_the_kernels_log(line: str, chatter: bool) -> None:
    assert FAMILY.chatter is not None
    assert (re.fullmatch(FAMILY.chatter, line) is not None) == chatter
