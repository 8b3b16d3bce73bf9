"""Parquet tables of recorded sessions."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import lerl
from lerl.envs.files import write_whole
from lerl.run.evaluate import write_table
from lerl.run.export import Export, Recording, environment_spec, unrecoverable
from lerl.run.folder import holds_other


class ParquetWriter:
    """Writes sessions.parquet, steps/*.parquet, items.parquet and about.json into a folder of their own.

    Args:
        folder: new, or empty. export: what is written.

    Raises:
        FileExistsError: the folder holds something.
    """

    def __init__(self, folder: Path, export: Export) -> None:
        self.folder, self.export = folder, export
        if holds_other(folder):
            raise FileExistsError(f"{folder} is taken; remove it, or give another folder with --parquet")

    def write(self, recordings: Iterable[Recording]) -> Path:
        """Write all recordings, and say where; what is half written is removed."""
        sessions: list[pl.DataFrame] = []
        try:
            for number, recording in enumerate(recordings):
                first = sum(map(len, sessions))
                sessions.append(sessions_table(recording, first))
                write_table(steps_table(recording, first), self.folder / "steps" / f"{number:05}.parquet")
            write_table(pl.concat(sessions), self.folder / "sessions.parquet")
            write_table(self._items(), self.folder / "items.parquet")
            write_whole(self.folder / "about.json", json.dumps(self._about(), indent=1) + "\n")
        except BaseException:
            shutil.rmtree(self.folder / "steps", ignore_errors=True)
            for name in ("sessions.parquet", "items.parquet"):
                (self.folder / name).unlink(missing_ok=True)
            raise
        return self.folder

    def _items(self) -> pl.DataFrame:
        """The catalog as agents know it; actions are its row numbers."""
        population = self.export.task.population
        catalog, vectors = population.catalog, population.knowledge.item_vectors.astype(np.float32)
        names = np.array(catalog.categories.names, object)
        return pl.DataFrame(
            {
                "item": np.arange(len(catalog)),
                "item_id": catalog.item_ids,
                "title": catalog.titles,
                "categories": [names[row].tolist() for row in catalog.categories.membership],
                "vector": vectors,
            }
        )

    def _about(self) -> dict[str, Any]:
        export, why = self.export, unrecoverable(self.export.task.config)
        spec = None if why else environment_spec(export.task, export.split)
        return {
            "lerl": lerl.__version__,
            "agents": list(export.agents),
            "split": export.split,
            "sessions": export.sessions,
            "seed": export.seed,
            "groups": list(export.task.axis.names),
            "environment": spec and {"id": spec.id, "kwargs": spec.kwargs},
        }


def sessions_table(recording: Recording, first: int) -> pl.DataFrame:
    """One row a session; `first` is the number of the first of them."""
    played = recording.played
    return pl.DataFrame(
        {
            "session": np.arange(first, first + len(played.users)),
            "agent": [recording.agent] * len(played.users),
            "user": played.users,
            "seed": recording.seeds,
            "steps": played.lengths,
            "left": played.left,
            "R_cum": np.nansum(played.rewards, axis=1),
        }
    )


def steps_table(recording: Recording, first: int) -> pl.DataFrame:
    """One row a slate, and one after a session's last slate, which has an observation and nothing else."""
    played, tape = recording.played, recording.tape
    steps = np.arange(played.slates.shape[1] + 1)
    session, step = np.nonzero(steps <= played.lengths[:, None])
    seen = pl.DataFrame(
        {"session": session + first, "step": step}
        | {name: np.ascontiguousarray(kept[session, step]) for name, kept in tape.observations.items()}
    )
    session, step = np.nonzero(steps[:-1] < played.lengths[:, None])
    last = step == played.lengths[session] - 1
    done = pl.DataFrame(
        {
            "session": session + first,
            "step": step,
            "action": tape.actions[session, step],
            "feedback": played.feedback[session, step],
            "reward": played.rewards[session, step],
            "terminated": last & played.left[session],
            "truncated": last & ~played.left[session],
        }
    )
    return seen.join(done, on=["session", "step"], how="left", maintain_order="left")
