"""Tables on standard output: as wide as the terminal, and as wide as they need to be in a pipe or a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

PIPE = 10_000
"""Columns of what is no terminal: nothing is cut off or wrapped there."""
_HEADING = "\N{BLACK SQUARE}"
"""In a table's first column, in place of a heading, which may be wider than what stands in that column."""
KIB, MIB = 1 << 10, 1 << 20


def console() -> Console:
    """Standard output."""
    plain = Console(highlight=False, soft_wrap=True)
    return plain if plain.is_terminal else Console(highlight=False, width=PIPE)


def show(columns: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()) -> None:
    """Prints rows under their columns; those of `right` are set flush right. A row of one cell is the heading of those
    that follow."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        justify: JustifyMethod = "right" if column in right else "left"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=index == 0 or column in right)
    headings: list[str] = []
    for row in rows:
        if len(row) == 1 < len(columns):
            headings.append(row[0])
            table.add_row(_HEADING)
        else:
            table.add_row(*(Text(cell) for cell in row))
    output = console()
    with output.capture() as captured:
        output.print(table)
    for line in captured.get().splitlines():
        if line.strip() == _HEADING:
            output.print(Text(headings.pop(0), style="bold"), soft_wrap=True)
        else:
            print(line if output.is_terminal else line.rstrip())


def size_text(size: int | None) -> str:
    """Of a number of bytes, such as `1.5 MiB`; `-` where it is not known."""
    if size is None:
        return "-"
    unit, name = (MIB, "MiB") if size >= MIB // 10 else (KIB, "KiB")
    return f"{size / unit:,.1f} {name}"
