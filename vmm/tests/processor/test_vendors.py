"""Every row of docs/vendors.md, on a model of either vendor."""

from __future__ import annotations

import pytest
import vendors


@pytest.mark.parametrize("name", vendors.ROWS)
def test_row(name: str) -> None:
    row = vendors.ROWS[name]
    assert row.check(vendors.INTEL) == row.intel
    assert row.check(vendors.AMD) == row.amd


def test_the_page_has_the_table_that_is_printed() -> None:
    page = vendors.VENDORS.read_text()
    assert vendors.table() in page
    assert vendors.written(page.replace("SYSCALL in 64-bit code", "something else")) == page


def test_a_model_that_does_otherwise_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["vendors"])
    monkeypatch.setattr(vendors, "INTEL", vendors.AMD)
    assert vendors.main() == 1
    assert "syscall-compatibility: the models do otherwise" in capsys.readouterr().out
