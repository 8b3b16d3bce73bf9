"""Files of what was fitted, which lie in a prepared folder beside its data."""

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lerl.envs.schema import DataError
from lerl.envs.store import MissingDataError

FORMAT = 1
"""What these files are written in."""


@contextmanager
def fitted_file(folder: Path, name: str, what: str, flags: str) -> Iterator[dict[str, Any]]:
    """What a file of a folder holds; what fails while it is read is a `DataError` that says how to fit it again.

    Args:
        folder: prepared. name: of the file. what: was fitted, in a word. flags: of `lerl fit FOLDER`, which fits it.

    Raises:
        MissingDataError: the file is not there.
        DataError: it is of another format, or cannot be used.
    """
    path = Path(folder) / name
    again = f"fit them with: lerl fit {shlex.quote(str(folder))} {flags}"
    if not path.is_file():
        raise MissingDataError(f"{folder} holds no fitted {what} ({name} is missing); {again}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}, this lerl reads {FORMAT}")
        yield content
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be used ({error!r}); {again}") from error
