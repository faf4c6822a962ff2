"""Console bytes become text that cannot drive the terminal it is shown on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bringup.harness.transcript import PlainText


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"bringup# \x1b[6nuname -a\r\n", "bringup# uname -a\n"),
        (b"\x1b[1;31mred\x1b[0m\ttab", "red\ttab"),
        (b"\x1b]0;title\x07text\x1b]0;title\x1b\\more", "textmore"),
        (b"\x1bcreset \x1b(B\x1b=", "reset "),
        (b"a\x00\x07\x08\x7fb\x0b\x0cc", "abc"),
        (b"\xc2\x9b31m", "31m"),
        ("Zoë\u2028x".encode(), "Zoëx"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"\x1b[" + b"1" * 65 + b"mend", "[" + "1" * 65 + "mend"),
    ],
)
def test_examples(data: bytes, text: str) -> None:
    assert PlainText().feed(data) == text


@given(
    st.lists(st.binary(max_size=12) | st.sampled_from([b"\x1b", b"\x1b[", b"\x1b]", b"0;", b"\x07", b"\xc3", b"\xa9"]))
)
def test_no_control_character_and_no_difference_from_the_size_of_pieces(pieces: list[bytes]) -> None:
    whole, parts = PlainText(), PlainText()
    text = whole.feed(b"".join(pieces))
    assert text == "".join(parts.feed(piece) for piece in pieces)
    assert all(character in "\n\t" or not (ord(character) < 32 or 127 <= ord(character) < 160) for character in text)
