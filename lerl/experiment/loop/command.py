"""From a request to its report: what is left is played, here or side by side, and all of it is judged."""

from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from lerl.envs.files import refuse_links
from lerl.experiment.loop import report as reports
from lerl.experiment.loop.cast import Cast, cast_of, with_seed
from lerl.experiment.loop.deploy import (
    RANDOM,
    do,
    is_done,
    read_log,
    read_people,
    read_sessions,
    run,
    stage_of,
)
from lerl.experiment.loop.judge import judge
from lerl.experiment.loop.measure import Measured, measure
from lerl.experiment.loop.page import report_loop
from lerl.experiment.loop.request import ABOUT, TRIALS, check, keep
from lerl.experiment.loop.settings import Request, Row, Trial
from lerl.run.executors import work_with
from lerl.run.folder import holds_other
from lerl.run.locks import locked
from lerl.run.progress import Progress
from lerl.run.side_by_side import results
from lerl.startup import MissingExtraError, require

Say = Callable[[str], object]
OWN = (ABOUT, TRIALS, "log.txt", *reports.FILES)


def loop(asked: Request, out: Path, say: Say, pool: Executor | None = None) -> dict[str, Any]:
    """Play what is not played yet, judge all, and write the report into the folder; the same request goes on.

    Args:
        asked: agents, seeds and settings. out: the folder: loop.json, trials/AGENT-seedN/, periods.parquet,
            summary.json, loop.html and pictures. say: called with a line on each deployment that is done.
        pool: plays, such as `lerl.run.executors.executor`; this process where None.

    Returns:
        The content of summary.json.

    Raises:
        DataError: a log is too short to learn from.
        RunError: the folder is of other settings, or another process is at work there.
        FileExistsError: the folder holds something else.
        ValueError: the recipe cannot be looped.
    """
    check_folder(out)
    stage = stage_of(asked, asked.seeds[0])
    check(asked, stage.task)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        keep(asked, out)
        _play(asked, out, say, pool)
        casts = {seed: cast_of(with_seed(stage.task, seed), asked.loop) for seed in asked.seeds}
        measured = {row.label: _measured(asked, row, casts, out) for row in asked.rows}
        summary = judge(measured, asked.config.evaluation.bootstrap, len(stage.cast.people))
        summary |= reports.about(asked, casts[asked.seeds[0]])
        reports.write(summary, measured, asked, out)
        report_loop(out)
        _draw(summary, out, say)
    return summary


def _draw(summary: dict[str, Any], out: Path, say: Say) -> None:
    try:
        require("plot")
    except MissingExtraError as error:
        say(f"lerl: note: no pictures, as {error}")
        return

    from lerl.experiment.loop.pictures import draw

    draw(summary, out)


def check_folder(out: Path) -> None:
    """Refuse a folder that holds something else.

    Raises:
        FileExistsError: it does.
    """
    if out.is_dir():
        refuse_links(out)
    if holds_other(out, *OWN):
        raise FileExistsError(f"{out} holds something other than a loop; give another folder with --out")


def left_of(asked: Request, out: Path) -> dict[Trial, list[int]]:
    """Periods of each deployment that are not played yet, in order; nothing of those that are."""
    found = {
        trial: [period for period in range(asked.loop.periods) if not is_done(out, trial, period)]
        for trial in asked.trials()
    }
    return {trial: periods for trial, periods in found.items() if periods}


def _play(asked: Request, out: Path, say: Say, pool: Executor | None) -> None:
    """Play what is left; first that of `random`, from whose log others are refitted."""
    left = list(left_of(asked, out))
    first = [trial for trial in left if trial.row.label == RANDOM.label]
    done = 0
    for wave in (first, [trial for trial in left if trial not in first]):
        if pool is None:
            with Progress() as progress:
                for trial in wave:
                    run(asked, trial, out, progress.report)
                    done += 1
                    say(f"[{done}/{len(left)}] {trial.name}")
            continue
        works = [work_with(asked.config, one.name, do, (asked, one, out), out) for one in wave]
        for place, _ in results(works, pool):
            done += 1
            say(f"[{done}/{len(left)}] {wave[place].name}")


def _measured(asked: Request, row: Row, casts: dict[int, Cast], out: Path) -> list[list[Measured]]:
    """Figures of all periods, of all seeds each."""
    return [
        [measure(casts[seed], period, *(read(out, Trial(row, seed), period) for read in READ)) for seed in asked.seeds]
        for period in range(asked.loop.periods)
    ]


READ: tuple[Callable[[Path, Trial, int], Any], ...] = (read_log, read_sessions, read_people)
