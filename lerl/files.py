"""Reading the files of runs: what is missing or damaged is one error that names the file and what to do."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Any

import polars as pl

AFRESH = "begin the run again in another folder"


class RunError(ValueError):
    """A run that cannot be read, used or compared; the message says which, why and what to do."""


def resume_command(run: Path) -> str:
    """What to type to go on with a run; it makes again whatever the run lacks."""
    return f"lerl train --resume {quote(str(run))}"


def seed_runs(folder: Path) -> list[Path]:
    """The runs in a folder of seeds, `seed0`, `seed3` and so on, by seed; none where it is a run, or something else."""
    if not folder.is_dir() or (folder / "config.yaml").is_file():
        return []
    found = {path: re.fullmatch(r"seed(\d+)", path.name) for path in folder.iterdir()}
    runs = [path for path, name in found.items() if name and (path / "config.yaml").is_file()]
    return sorted(runs, key=lambda path: int(path.name.removeprefix("seed")))


def evaluate_command(run: Path) -> str:
    """How to write the tables of a run's evaluation anew."""
    return f"write it anew with: lerl evaluate {quote(str(run))}"


@contextmanager
def reading(path: Path, how: str) -> Iterator[None]:
    """Turn whatever goes wrong while a file is read, and its content taken apart, into one error that names it.

    Args:
        path: the file. how: to go on without it, such as "go on with: lerl train --resume RUN".

    Raises:
        RunError: the file is missing or damaged.
        PermissionError: the system does not let it be read.
    """
    try:
        yield
    except (RunError, MemoryError, PermissionError):
        raise
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing; {how}") from error
    except (Exception, pl.exceptions.PanicException) as error:
        raise RunError(f"{path} is damaged ({type(error).__name__}); remove it, then {how}") from error


def read_about(run: Path) -> dict[str, Any]:
    """What run.json of a run says."""
    path = run / "run.json"
    with reading(path, AFRESH):
        about = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(about, dict):
            raise TypeError("no keys and values")
        return about


def read_table(path: Path, how: str, columns: Mapping[str, Any] | None = None) -> pl.DataFrame:
    """A Parquet file that holds these columns, of these types or others that can be read as them."""
    with reading(path, how):
        table = pl.read_parquet(path, glob=False)
        table.select(pl.col(name).cast(kind) for name, kind in (columns or {}).items())
        return table
