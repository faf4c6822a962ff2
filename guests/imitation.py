"""Programs of ours that speak like guests: the types of `guests/synthetic/<name>.toml`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, structs

from .definition import Architecture, Console, Definition, Derived, Machine, Name, Table, Text


class Dying(Table, frozen=True, kw_only=True):
    """How an imitation is made to die, once its ladder is climbed."""

    typed: Text
    title: Text
    """What the family's patterns are to call that."""


class Imitation(Table, frozen=True, kw_only=True):
    """A file of `guests/synthetic/`: a program of ours that speaks like a guest, so that the guest's ladder and its
    family's death patterns are tried where nobody has its media. It is never taken for the guest."""

    imitates: Name
    """The guest whose consoles, ladder and patterns it has."""
    script: Annotated[str, Meta(min_length=1, max_length=65536)]
    """What it says on COM1, and to which answers: the recipe `dialogue`."""
    dying: tuple[Dying, ...] = ()

    def definition(self, imitated: Definition) -> Definition:
        """As a guest of its own, on a machine of its own. What would be the same console on COM1 is one."""
        kinds = {console.terminal: name for name, console in reversed([*imitated.console.items()])}
        names = {name: kinds[console.terminal] for name, console in imitated.console.items()}
        return structs.replace(
            imitated,
            title=f"a program that speaks like {imitated.title}",
            architecture=Architecture.I386,
            tier=1,
            tags=(),
            untried=None,
            machine=Machine(memory="16M", kernel="kernel", protocol="multiboot"),
            media={"kernel": Derived(recipe="dialogue", parameters={"script": self.script})},
            console={name: _on_serial(imitated.console[name]) for name in dict.fromkeys(names.values())},
            ladder=tuple(
                structs.replace(rung, console=names.get(rung.console or "", rung.console)) for rung in imitated.ladder
            ),
            quirk=(),
            expected_failure=(),
        )


def _on_serial(console: Console) -> Console:
    """On COM1, and typed at as fast as can be: the program polls."""
    return structs.replace(console, channel="serial0", typing=structs.replace(console.typing, pace=0.0))
