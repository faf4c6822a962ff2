"""Media that are made from other media: one module a recipe, called like it (`linux-initrd`: `linux_initrd.py`).

A recipe's module has
- `VERSION`, a whole number: what the recipe makes changes only with it;
- `make(inputs, parameters, output)`: writes the medium. The same inputs and parameters give the same bytes, on every
  machine and at any time. RecipeError: an input or a parameter is missing or wrong.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import BinaryIO, Protocol, cast


class RecipeError(Exception):
    """Inputs or parameters that nothing can be made from; the message is one line."""


class Recipe(Protocol):
    """What a recipe's module has."""

    VERSION: int

    def make(self, inputs: Mapping[str, Path], parameters: Mapping[str, str], output: BinaryIO) -> None:
        """Writes the medium; inputs are files by role."""


def names() -> list[str]:
    """The recipes that there are."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__) if module.name != "tests")


def load(name: str) -> Recipe:
    """The recipe of this name; RecipeError names the known ones when there is none."""
    if name not in names():
        raise RecipeError(f"recipe {name!r} is not known; known are {', '.join(names())}")
    return cast(Recipe, import_module(f"{__name__}.{name.replace('-', '_')}"))


def needed(inputs: Mapping[str, Path], *roles: str) -> list[Path]:
    """The inputs of these roles, in order; RecipeError: one is missing, or there are others."""
    for role in roles:
        if role not in inputs:
            raise RecipeError(f"takes the inputs {', '.join(roles)}; {role} is missing")
    for role in inputs:
        if role not in roles:
            takes = f"the inputs {', '.join(roles)}; {role} is none of them" if roles else f"no inputs, such as {role}"
            raise RecipeError(f"takes {takes}")
    return [inputs[role] for role in roles]


def known(parameters: Mapping[str, str], *names: str) -> None:
    """RecipeError: there is a parameter of another name."""
    for name in parameters:
        if name not in names:
            raise RecipeError(f"has no parameter {name!r}" + (f"; it has {', '.join(names)}" if names else ""))
