"""The guest that docs/guests.md writes step by step loads at every step."""

import re
from pathlib import Path

import pytest

from bringup.guests.definition import (
    Console,
    Death,
    DebianPackage,
    Definition,
    Derived,
    Download,
    Drive,
    ExpectedFailure,
    Family,
    Machine,
    Quirk,
    Rung,
    UserFile,
)
from bringup.guests.loader import load_file

PAGE = Path(__file__).parents[2] / "docs" / "guests.md"
TABLES = (Console, Death, DebianPackage, Definition, Derived, Download, Drive, ExpectedFailure, Family, Machine, Quirk,
          Rung, UserFile)  # fmt: skip

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="an installed copy has no docs")


def test_the_example_loads_at_every_step(tmp_path: Path) -> None:
    text, rungs = "", []
    for block in re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL):
        text += block
        (tmp_path / "memtest86.toml").write_text(text)
        rungs.append([rung.id for rung in load_file(tmp_path / "memtest86.toml").ladder])
    assert rungs == [["banner"], *[["banner", "first-test", "later-test"]] * 2]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_every_key_is_on_the_page(table: type) -> None:
    page = PAGE.read_text()
    missing = [field for field in table.__struct_fields__ if f"`{field}`" not in page and f"[{field}" not in page]  # type: ignore[attr-defined]
    assert missing == []
