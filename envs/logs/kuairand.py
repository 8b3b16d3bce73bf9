"""KuaiRand: views of a video app with several kinds of feedback.

Gao et al. 2022, KuaiRand: An Unbiased Sequential Recommendation Dataset with Randomly Exposed Videos.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import polars as pl

from lerl.envs.logs import views
from lerl.envs.logs.dataset import DataSet, catalog_of, or_id, or_other
from lerl.envs.logs.scan import scan
from lerl.envs.logs.table import strings
from lerl.envs.schema import KIND_PREFIX, DataError

SUFFIXES = ("pure", "1k", "27k")
HISTORY, LOG, VIDEOS = "history.parquet", "log.parquet", "videos.parquet"
WANTED = (
    "log_standard_4_08_to_4_21_pure.csv, log_standard_4_22_to_5_08_pure.csv and video_features_basic_pure.csv "
    "(KuaiRand-Pure; 1k or 27k in the place of pure for KuaiRand-1K and -27K), or log.parquet and videos.parquet"
)
CLICK = "long_view"
KINDS = (
    "long_view", "is_click", "is_like", "is_follow", "is_comment", "is_forward", "is_hate", "is_profile_enter",
)  # fmt: skip
"""Columns of a log: 0 or 1, whether a user did so."""

NO_TAG = "unknown"
TAGS = rf"(?i)^\s*({NO_TAG}|\d+\s*(,\s*\d+\s*)*)?\s*$"


def read_kuairand(folder: Path, weights: Mapping[str, float] | None = None) -> DataSet:
    """KuaiRand as published, or its tables as Parquet files; the files' names say which.

    - KuaiRand-Pure, -1K and -27K: the folder of the archive or the folder `data` in it, with every
      `log_standard_*_SUFFIX*.csv` that is there (27K splits each in two parts) and `video_features_basic_SUFFIX.csv`,
      where SUFFIX is pure, 1k or 27k. `log_random_*` is left out, as its items were picked at random;
    - log.parquet with the columns of those logs, videos.parquet with video_id and tag, and, if it is there,
      history.parquet (user_id, video_id, long_view, pos_from_end): each user's views before the log, the newest of
      which has pos_from_end 0, and no time.

    A click is a long_view: the video watched to its end, or for 18 seconds. Of a user's views of one video the first is
    kept. The categories are the tags; a tag is a number, so that they are called "tag 39", and a video without one is
    "other". Videos have no titles.

    The layouts are those of the publisher's README. The reader was tested on files made after it and on a part of
    KuaiRand-Pure as Parquet, not on the official files.

    Args:
        folder: where the files are.
        weights: of several kinds of feedback, by names of KINDS; the first replaces long_view as the click.

    Raises:
        DataError: the data cannot be used as they are; the message names file, row, column and mend.
        ValueError: there is no such kind of feedback.
    """
    weights = weights or {CLICK: 1.0}
    unknown = [name for name in weights if name not in KINDS]
    if unknown:
        raise ValueError(f"a kind of feedback must be one of {', '.join(KINDS)}, given {unknown[0]!r}")
    click, *others = weights
    flags = {"click": views.Flag(click), **{f"{KIND_PREFIX}{name}": views.Flag(name) for name in others}}
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give the folder that holds {WANTED}")
    logs, videos, notes = _files(folder)
    parts = [_views(path, flags) for path in logs]
    timed = [part for path, part in zip(logs, parts, strict=True) if path.name != HISTORY]
    before = [part for path, part in zip(logs, parts, strict=True) if path.name == HISTORY]
    log, merged = views.first_views([*before, pl.concat(timed)])
    items, dropped, unlisted = views.items_of(log, _tags(videos))
    items = or_other(or_id(items.with_columns(title=pl.lit(""))))
    notes += [_meaning(weights), *views.merged_note(merged), *views.unlisted_note(unlisted, videos.name)]
    several = weights if others else {}
    return DataSet("kuairand", catalog_of(items), log, dropped, merged, tuple(notes), weights=several)


def _meaning(weights: Mapping[str, float]) -> str:
    """A line that defines a click, and the feedback that env.feedback "weighted" gives."""
    click = f"a click is a {next(iter(weights))}"
    total = sum(weights.values())
    shares = " + ".join(f"{weight / total:.3g} {name}" for name, weight in weights.items())
    return click if len(weights) == 1 else f"{click}; with env.feedback weighted, feedback is {shares}"


def _files(folder: Path) -> tuple[list[Path], Path, list[str]]:
    """The logs, the list of videos, and notes that say which logs they are."""
    place = views.inner_folder(folder, lambda inner: bool(_logs(inner)))
    if place is None:
        raise DataError(f"{folder} holds no KuaiRand data; a folder must hold {WANTED}")
    logs = _logs(place)
    suffix = next((suffix for suffix in SUFFIXES if f"_{suffix}" in logs[0].name), None)
    videos = place / (VIDEOS if suffix is None else f"video_features_basic_{suffix}.csv")
    if not videos.is_file():
        raise DataError(f"{videos} is missing; KuaiRand needs it beside {logs[-1].name}: copy it there")
    notes = [f"logs: {', '.join(path.name for path in logs)}"]
    left_out = sorted(path.name for path in place.glob("log_random_*.csv"))
    notes += [f"left out, as items were picked at random: {', '.join(left_out)}"] if left_out else []
    return logs, videos, notes


def _logs(place: Path) -> list[Path]:
    """The logs of one layout in a folder, in order of time where the files' names give it."""
    if (place / LOG).is_file():
        return [path for path in (place / HISTORY, place / LOG) if path.is_file()]
    found = (sorted(place.glob(f"log_standard_*_{suffix}*.csv")) for suffix in SUFFIXES)
    return next((logs for logs in found if logs), [])


def _views(path: Path, flags: Mapping[str, views.Flag]) -> pl.DataFrame:
    read = scan(path)
    missing = [flag.column for flag in flags.values() if flag.column not in read.columns]
    if missing:
        there = ", ".join(name for name in KINDS if name in read.columns) or "none"
        raise DataError(f"{path}: column {missing[0]} is missing, its kinds of feedback are {there}; choose among them")
    if path.name == HISTORY:
        return views.read_views(read, views.ViewColumns(flags, last="pos_from_end"))
    return views.read_views(read, views.ViewColumns(flags, clock=views.Clock("time_ms", "ms")))


def _tags(path: Path) -> pl.DataFrame:
    """Columns item and categories of every video in a list."""
    table = scan(path).table(video_id="video_id", tag="tag")
    table = replace(table, frame=table.frame.with_columns(tag=strings(table, "tag").fill_null(NO_TAG)))
    wrong = ~table.frame["tag"].str.contains(TAGS)
    table.refuse(wrong, "tag", "whole numbers separated by commas", "correct the tags, or leave the cell empty")
    lists = pl.col("tag").str.extract_all(r"\d+").list.eval(pl.format("tag {}", pl.element()))
    return views.listed_categories(table, lists)
