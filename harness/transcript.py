"""What a guest writes on a console, as text that any terminal may be shown."""

import codecs
import re

# ECMA-48: control sequences, control strings (ended by BEL or ST), two-byte escapes; longer ones are taken for text.
# Then what may yet become one, at the end.
_ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]{0,64}[ -/]{0,4}[@-~]|[]PX^_][^\x07\x1b]{0,256}(?:\x07|\x1b\\)|[ -/]{0,4}[0-OQ-WYZ\\`-~])"
    r"|(?P<unfinished>\x1b(?:\[[0-?]{0,64}[ -/]{0,4}|[]PX^_][^\x07\x1b]{0,256}\x1b?|[ -/]{0,4}))\Z"
)
_PLAIN_DELETED = bytes(code for code in (*range(32), 127) if code not in b"\t\n")
_CONTROL = re.compile(r"[^\S\n\t ]|[\x00-\x08\x0e-\x1f\x7f-\x9f]")


class PlainText:
    """Turns a console's bytes into text without escape sequences and control characters but newline and tab.

    Bytes may come in pieces of any size; what is not UTF-8 becomes U+FFFD.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def feed(self, data: bytes) -> str:
        """The text of these bytes; the start of an escape sequence is held back until its end arrives."""
        if data.isascii() and b"\x1b" not in data and not self._held and not self._decoder.getstate()[0]:
            return data.translate(None, _PLAIN_DELETED).decode("ascii")  # nearly everything, at a tenth of the cost
        text, self._held = self._held + self._decoder.decode(data), ""
        return _CONTROL.sub("", _ESCAPE.sub(self._hold, text))

    def _hold(self, escape: re.Match[str]) -> str:
        self._held = escape["unfinished"] or ""
        return ""
