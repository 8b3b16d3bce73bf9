"""A population on disk: a prepared folder, written whole and read with checks."""

import glob
import json
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lerl.envs.catalog import Axis, Catalog
from lerl.envs.files import full_disk
from lerl.envs.population import (
    ARRAYS,
    MORE_ARRAYS,
    Kinds,
    Knowledge,
    Population,
    Truth,
)
from lerl.envs.sequence_weights import read_learned, write_learned

if TYPE_CHECKING:
    import polars


FORMAT_VERSION = 1


CATALOG_FILE = "catalog.parquet"


ARRAYS_FILE = "arrays.npz"


ABOUT_FILE = "prepared.json"


INTERACTIONS_FILE = "interactions.parquet"


DYNAMICS_FILE = "dynamics.json"


RETURNS_FILE = "returns.json"
"""What `lerl fit --returns` writes there."""


FIDELITY = "fidelity"
"""Name, without ending, of what `lerl fidelity` writes into a prepared folder."""


RESPONSE_FILE = "response.npz"


KNOWLEDGE_FILE = "knowledge-federated.npz"
"""What `lerl fit --knowledge federated` writes there."""


COLLECTIVE_FILE = "response-collective.npz"
"""What `lerl fit --model sequence --cache collective` writes into a prepared folder."""


CHECKPOINT_FILE = "response-unfinished.pt"
COLLECTIVE_CHECKPOINT = "response-collective-unfinished.pt"
"""The checkpoint that an interrupted `lerl fit` continues from."""


PICTURE = "description"
"""Name, without ending, of the pictures that `lerl data describe` writes into a prepared folder."""


OLD = "old"
"""What a replaced folder is called until the new one is in its place."""


CALIBRATIONS = ("calibration-latent", "calibration-sequence", "calibration-collective")
"""Names, without ending, of the pictures, and of the figures as JSON, that `lerl fit` writes there."""


FILES = frozenset(
    {
        CATALOG_FILE,
        ARRAYS_FILE,
        ABOUT_FILE,
        INTERACTIONS_FILE,
        RESPONSE_FILE,
        CHECKPOINT_FILE,
        DYNAMICS_FILE,
        RETURNS_FILE,
        KNOWLEDGE_FILE,
        COLLECTIVE_FILE,
        COLLECTIVE_CHECKPOINT,
    }
    | {f"{name}.{ending}" for name in (PICTURE, FIDELITY, *CALIBRATIONS) for ending in ("png", "svg")}
    | {f"{name}.json" for name in (FIDELITY, *CALIBRATIONS)}
    | {".lock"}
)
"""What a prepared folder may hold: the prepared data, what commands wrote from it, and a lock."""


OWN_LOGS = "own logs"
"""The format of data sets that were imported."""


ANY_FORMAT = ""
"""Where any format will do."""


class MissingDataError(FileNotFoundError):
    """There is no prepared data set in a folder; the message names the command that makes one."""


def save_population(
    population: Population, folder: Path, *, about: Mapping[str, Any] | None = None, overwrite: bool = False
) -> None:
    """Write the population into a new folder: whole, or not at all.

    Args:
        folder: must be absent or empty.
        about: how it was made, anything JSON can hold; `read_about` gives it back.
        overwrite: replace a folder that already holds a prepared data set.

    Raises:
        FileExistsError: the folder holds something else, or a prepared data set without `overwrite`.
        OSError: the disk is full, or a file cannot be written.
    """
    with new_folder(folder, overwrite=overwrite) as partial:
        write_population(population, partial, about=about or {})


def write_population(population: Population, folder: Path, *, about: Mapping[str, Any]) -> None:
    """Write the population's files into an existing folder; `save_population` writes whole or not at all."""
    _catalog_frame(population.catalog).write_parquet(folder / CATALOG_FILE)
    np.savez(folder / ARRAYS_FILE, **population.arrays())
    for file, model in ((RESPONSE_FILE, population.response), (COLLECTIVE_FILE, population.collective)):
        if model is not None:
            write_learned(folder / file, model)
    head = {
        "format_version": FORMAT_VERSION,
        "name": population.name,
        "categories": list(population.catalog.categories.names),
        **({} if population.kinds is None else {"kinds": list(population.kinds.names)}),
    }
    text = json.dumps({**head, **about}, indent=2, ensure_ascii=False)
    (folder / ABOUT_FILE).write_text(text + "\n", encoding="utf-8")


def load_population(folder: Path, *, format: str = ANY_FORMAT) -> Population:
    """Read what `save_population` wrote, now or in version 0.1.0; nothing in the files is executed.

    Args:
        folder: of the prepared data set.
        format: of the data set that is wanted, which the message names if there is none.

    Raises:
        MissingDataError: there is no prepared data set in the folder.
        DataError: it was made by another version of this package, or is damaged.
    """
    about = read_about(folder, format)
    format = format_of(about, format)
    with damage(folder, ABOUT_FILE, format):
        name, categories = str(about["name"]), tuple(map(str, about["categories"]))
        kinds = tuple(map(str, about.get("kinds", ())))
    with damage(folder, CATALOG_FILE, format):
        catalog = _read_catalog(Path(folder) / CATALOG_FILE, categories)
    with damage(folder, ARRAYS_FILE, format):
        arrays = _read_arrays(Path(folder) / ARRAYS_FILE)
        truth = Truth(**{field.name: arrays[f"truth.{field.name}"] for field in fields(Truth)})
        knowledge = Knowledge(**{field.name: arrays[f"knowledge.{field.name}"] for field in fields(Knowledge)})
        population = Population(
            name, catalog, truth, knowledge, arrays["training"], arrays["history"], arrays.get("dense"),
            _read_kinds(kinds, arrays),
        )  # fmt: skip
    for path in (Path(folder) / RESPONSE_FILE, Path(folder) / COLLECTIVE_FILE):
        if not path.is_file():
            continue
        try:
            model = read_learned(path)
            collective = path.name == COLLECTIVE_FILE
            population = replace(population, collective=model) if collective else replace(population, response=model)
        except MemoryError:
            raise
        except Exception as error:
            raise _unreadable_model(path, error) from error
    return population


def _unreadable_model(path: Path, error: Exception) -> Exception:
    from lerl.envs.schema import DataError

    more = " --cache collective" if path.name == COLLECTIVE_FILE else ""
    again = f"lerl fit {shlex.quote(str(path.parent))} --model sequence{more}"
    return DataError(
        f"the sequence model in {path} cannot be read ({error}); remove it, or make it again with `{again}`"
    )


def make_command(folder: Path, format: str, more: str = "") -> str:
    """The command that makes a data set of a format in a folder, with `more` flags; two where any format will do."""
    out = f"--out {shlex.quote(str(folder))}{more}"
    if format == ANY_FORMAT:
        return f"{make_command(folder, 'FORMAT', more)}` or `{make_command(folder, OWN_LOGS, more)}"
    if format == OWN_LOGS:
        return f"lerl data import --interactions FILE --items FILE {out}"
    return f"lerl data prepare --format {format} FOLDER {out}"


def read_about(folder: Path, format: str = ANY_FORMAT) -> dict[str, Any]:
    """The description of a prepared folder: format version, name, settings and report.

    Args and errors: see `load_population`.
    """
    path = Path(folder) / ABOUT_FILE
    if not path.is_file():
        recover(folder)
    if not path.is_file():
        what = "is not there" if not Path(folder).exists() else f"has no {ABOUT_FILE}"
        raise MissingDataError(f"no prepared data set: {folder} {what}; make it with `{make_command(folder, format)}`")
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        version = about["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise unusable(folder, f"cannot be read ({ABOUT_FILE}: {error})", format) from error
    if version != FORMAT_VERSION:
        age = "a newer" if isinstance(version, int) and version > FORMAT_VERSION else "an older"
        why = f"was made by {age} version of lerl (format {version}, this one reads {FORMAT_VERSION})"
        raise unusable(folder, why, format_of(about, format))
    return dict(about)


@contextmanager
def new_folder(folder: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A folder to write into that takes its place only when the block ends without an error.

    Raises:
        FileExistsError: the place is taken; see `check_destination`.
        OSError: the disk is full.
    """
    check_destination(folder, overwrite=overwrite)
    with scratch_folder(folder) as holder:
        partial = holder / "new"
        partial.mkdir()
        with disk_errors(Path(folder).resolve()):
            yield partial
        check_destination(folder, overwrite=overwrite)  # another process may have taken the place since
        _replace(Path(folder).resolve(), partial, holder / OLD)


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """A new folder beside a folder, and so on its disk, that is removed at the end of the block; `recover` removes it
    where the process was killed."""
    place = Path(folder).resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    holder = Path(tempfile.mkdtemp(prefix=f".{place.name}.", suffix=".partial", dir=place.parent))
    try:
        with _locked(holder):
            yield holder
    finally:
        shutil.rmtree(holder, ignore_errors=True)


@contextmanager
def _locked(holder: Path) -> Iterator[bool]:
    """Whether no other process works in a folder; False too where the file system has no locks."""
    from filelock import FileLock, Timeout

    lock = FileLock(holder / "lock", fallback_to_soft=False)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError, NotImplementedError):
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def recover(folder: Path) -> None:
    """Remove what processes left that were killed while they replaced a folder; a folder that one had moved out of its
    place is put back."""
    place = Path(folder).resolve()
    for holder in sorted(place.parent.glob(f".{glob.escape(place.name)}.{'?' * 8}.partial")):
        if holder.is_symlink() or not holder.is_dir():
            continue
        with suppress(OSError), _locked(holder) as exclusive:
            if exclusive and (holder / OLD).exists() and not place.exists():
                (holder / OLD).rename(place)
            if exclusive:
                shutil.rmtree(holder, ignore_errors=True)


@contextmanager
def disk_errors(place: Path) -> Iterator[None]:
    """Turns any library's error on a full disk into one OSError that says so.

    Raises:
        OSError: with the number of the system's error; other errors pass unchanged.
    """
    try:
        yield
    except Exception as error:
        number = full_disk(error)
        if number is None:
            raise
        reason = os.strerror(number)
        full = OSError(f"no room on the disk to write {place} ({reason}); nothing was left behind: make room")
        full.errno = number  # given to the constructor it would begin the message
        raise full from error


def check_destination(folder: Path, *, overwrite: bool = False) -> None:
    """Refuse a place that holds something other than, with `overwrite`, a prepared data set.

    Raises:
        FileExistsError: the message says what is there and what to do.
    """
    folder = Path(folder)
    recover(folder)
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file, and the output is a folder; give another path")
    held = {path.name for path in folder.iterdir() if path.suffix != ".partial"} if folder.exists() else set()
    if not held:
        return
    if ABOUT_FILE not in held or not held <= FILES:
        raise FileExistsError(
            f"{folder} is not empty and holds more than a prepared data set ({sorted(held - FILES or held)[0]!r}); "
            f"give a new folder, or empty this one yourself"
        )
    if not overwrite:
        raise FileExistsError(f"{folder} already holds a prepared data set; give a new folder, or --overwrite")


def _replace(place: Path, new: Path, old: Path) -> None:
    """Put a finished folder in its place; if that fails, what was there before is put back."""
    if place.exists():
        place.rename(old)
    try:
        new.rename(place)
    except OSError:
        if old.exists():
            old.rename(place)
        raise


@contextmanager
def damage(folder: Path, file: str, format: str) -> Iterator[None]:
    """Turns whatever libraries raise on a damaged file of a prepared folder into one error that names the file.

    Raises:
        DataError: with the command that makes the data set again.
    """
    from polars.exceptions import PanicException  # not an Exception: Polars raises it where its own code fails

    try:
        yield
    except MemoryError:
        raise
    except (Exception, PanicException) as error:
        raise unusable(folder, f"cannot be read ({file}: {error})", format) from error


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    found = {}
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as kept:
        for name, (kind, dimensions) in (ARRAYS | MORE_ARRAYS).items():
            if name not in kept and name in MORE_ARRAYS:
                continue
            if name not in kept:
                raise ValueError(f"{name} is missing")
            array = found[name] = kept[name]
            if array.dtype != kind or array.ndim != dimensions:
                raise ValueError(
                    f"{name} must be {kind.__name__} in {dimensions} dimensions, "
                    f"given {array.dtype} of shape {array.shape}"
                )
    return found


def _read_kinds(names: tuple[str, ...], arrays: Mapping[str, Any]) -> Kinds | None:
    """The kinds of feedback that a folder names, or None; the names and the arrays must fit."""
    held = {name.removeprefix("kinds."): array for name, array in arrays.items() if name.startswith("kinds.")}
    missing = {"weights", "slopes", "item_offsets"} - set(held)
    if not names and not held:
        return None
    if missing or not names:
        raise ValueError(f"kinds.{min(missing)} is missing" if missing else f"{ABOUT_FILE} does not name the kinds")
    return Kinds(names, **held)


def _catalog_frame(catalog: Catalog) -> "polars.DataFrame":
    import polars as pl

    names = catalog.categories.names
    columns = {
        "item_id": catalog.item_ids,
        "title": catalog.titles,
        "categories": [[names[c] for c in np.flatnonzero(row)] for row in catalog.categories.membership],
    }
    return pl.DataFrame(columns, schema={"item_id": pl.String, "title": pl.String, "categories": pl.List(pl.String)})


def _read_catalog(path: Path, names: tuple[str, ...]) -> Catalog:
    import polars as pl

    frame = pl.read_parquet(path, glob=False)
    membership = np.zeros((len(frame), len(names)), dtype=np.bool_)
    for item, categories in enumerate(frame["categories"]):
        for name in categories:
            if name not in names:
                raise ValueError(f"item {item} has the category {name!r}, which {ABOUT_FILE} does not list")
            membership[item, names.index(name)] = True
    return Catalog(tuple(frame["item_id"]), tuple(frame["title"]), Axis(names, membership))


def format_of(about: Mapping[str, Any], wanted: str) -> str:
    """The format that a prepared data set was made from, with its flags; `wanted` where `about` has none."""
    settings = about.get("settings")
    if not isinstance(settings, dict):
        return wanted
    dense, feedback = settings.get("dense"), settings.get("feedback")
    flags = [" --dense"] if dense else []
    if isinstance(feedback, dict):
        flags.append(" --feedback " + shlex.quote(",".join(f"{name}={weight}" for name, weight in feedback.items())))
    format, users = str(settings.get("format", wanted)), settings.get("users")
    if users and format != OWN_LOGS:  # whose command names files that are not known
        flags.append(f" --users {users}")
    return format + "".join(flags)


def unusable(folder: Path, why: str, format: str) -> Exception:
    """The DataError for a prepared data set that cannot be read, with the command that makes it again."""
    from lerl.envs.schema import DataError

    again = f"make it again with `{make_command(folder, format, ' --overwrite')}`"
    return DataError(f"the prepared data set in {folder} {why}; {again}")
