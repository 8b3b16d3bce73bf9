"""One row with one seed: fitted, judged and written whole to one file, so that it is done once, or not at all."""

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from lerl.agents.next_item.base import DivergedError, Fitted
from lerl.agents.next_item.ranking import Places, ranked
from lerl.agents.next_item.registry import CONTROLS, row_class
from lerl.envs.files import write_whole
from lerl.experiment.rank.request import Data, Request, Trial, digest
from lerl.files import RunError, reading
from lerl.run.progress import Progress, Report, counter

UNFINISHED = "unfinished"
AGAIN = "remove it and give the same command again"


@dataclass(frozen=True)
class Judged:
    """A trial that was brought to its end.

    Attributes:
        places: of what test users chose. about: settings, data, epochs and seconds, as JSON holds them.
    """

    places: Places
    about: Mapping[str, Any]


def path_of(out: Path, trial: Trial) -> Path:
    """The file of a trial."""
    return out / "trials" / f"{trial.name}.npz"


def do(data: Data, trial: Trial, settings: Any, out: Path) -> None:
    """Fit and judge in a worker, which says on standard error how far it is.

    Args:
        data: what is ranked. trial: which row and seed. settings: of the row. out: the folder of all trials.
    """
    with Progress() as progress:
        run(data, trial, settings, out, progress.report)


def run(data: Data, trial: Trial, settings: Any, out: Path, report: Report) -> None:
    """The same, where `report` is told how far it is.

    Raises:
        DivergedError: the row has learned what is no number; the message names it.
    """
    choices, split = data.read()
    row, begun = row_class(trial.row)(split.items, settings), perf_counter()
    row.know(choices.texts)
    checkpoint = out / UNFINISHED / f"{trial.name}.pt"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    try:
        fitted = row.fit(
            split.train,
            split.validation,
            seed=trial.seed,
            checkpoint=checkpoint,
            report=lambda done, total, newest: report(f"fit {trial.name}", done, total, newest),
        )
        fitted_in = perf_counter() - begun
        count = counter(report, f"judge {trial.name}", len(split.test))
        places = ranked(row, split.test, exclude=data.exclude, ties=trial.seed, count=count)
    except DivergedError as error:
        raise DivergedError(f"{trial.name}: {error}, with a flag such as --{trial.flags}.rate 0.0005") from error
    about = {
        **asdict(fitted),
        "row": trial.row,
        "seed": trial.seed,
        "settings": row.about(),
        "data": digest(choices, split, data, row.reads_texts),
        "notes": list(row.notes),
        "seconds": round(fitted_in, 1),
        "device": "cuda" if torch.cuda.is_available() else "cpu",
    }
    _write(path_of(out, trial), places, about)
    checkpoint.unlink(missing_ok=True)


def _write(path: Path, places: Places, about: Mapping[str, Any]) -> None:
    stream = io.BytesIO()
    arrays = {name: values for name, values in places._asdict().items() if values is not None}
    np.savez_compressed(stream, **arrays, about=json.dumps(about))
    write_whole(path, stream.getvalue())


def read(path: Path) -> Judged:
    """What `run` wrote.

    Raises:
        RunError: the file is missing or damaged.
    """
    with reading(path, AGAIN), np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as kept:
        about = json.loads(str(kept["about"]))
        Fitted(**{name: about[name] for name in ("parameters", "epochs", "best", "validation")})
        return Judged(Places(kept["rank"], kept["tied"], kept["shown"], kept.get("by_code")), about)


def is_done(asked: Request, trial: Trial, out: Path, data: str) -> bool:
    """Whether a trial's file is there.

    Args:
        asked: the request. trial: one of it. out: the folder. data: see `lerl.experiment.rank.request.digest`.

    Raises:
        RunError: it is of other data, or of other settings, than are asked for; the message says what differs.
    """
    path, how = path_of(out, trial), "give another folder with --out"
    if not path.is_file():
        return False
    then, now = read(path).about, asdict(asked.rows[trial.row])
    if then["data"] != data:
        raise RunError(f"{path} is of other data, another --split or another --exclude-history; {how}")
    for name, value in now.items():
        if (was := then["settings"].get(name)) != value:
            flag = f"{name} of {trial.row}" if trial.row in CONTROLS else f"--{trial.row}.{name}"
            raise RunError(f"{path}: {flag} was {was} and is now {value}; {how}")
    return True
