"""`text`: a text file whose content the guest's own file states, such as the configuration of a loader.

Inputs: none. Parameters: `text`, the content, written as UTF-8. TOML's ''' quotes keep it as it is, line by line.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from bringup.harness.media.recipes import RecipeError, known, needed

VERSION = 1


def make(inputs: Mapping[str, Path], parameters: Mapping[str, str], output: BinaryIO) -> None:
    """Writes the file."""
    needed(inputs)
    known(parameters, "text")
    if "text" not in parameters:
        raise RecipeError("takes the parameter text, which is missing")
    output.write(parameters["text"].encode())
