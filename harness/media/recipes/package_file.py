"""`package-file`: a file out of a Debian package, for packages of which several files are wanted, all of one version.

Inputs: the package, of any role. Parameters: `file`, a glob of its path in the package, without leading slash.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from bringup.harness.media.debian.deb import open_file
from bringup.harness.media.recipes import RecipeError, known
from bringup.harness.media.store import WrongContentError

VERSION = 1


def make(inputs: Mapping[str, Path], parameters: Mapping[str, str], output: BinaryIO) -> None:
    """Writes the file."""
    known(parameters, "file")
    if len(inputs) != 1:
        raise RecipeError(f"takes one input, and there are {len(inputs)}")
    ((role, package),) = inputs.items()
    if "file" not in parameters:
        raise RecipeError("takes the parameter file, which is missing")
    try:
        with open_file(package, parameters["file"]) as (_, content):
            shutil.copyfileobj(content, output)
    except WrongContentError as error:
        raise RecipeError(f"{role}: {error}") from None
