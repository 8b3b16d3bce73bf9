"""From a request to its report: what is left is fitted, here or side by side, and all of it is judged."""

import shutil
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lerl.agents.next_item.registry import row_class
from lerl.envs.files import refuse_links
from lerl.envs.logs.bundles import is_bundles
from lerl.experiment.rank import report as reports
from lerl.experiment.rank.claims import claims
from lerl.experiment.rank.judge import judge
from lerl.experiment.rank.page import report_rank
from lerl.experiment.rank.request import Request, Trial, digests
from lerl.experiment.rank.trial import UNFINISHED, Judged, do, is_done, path_of, read, run
from lerl.run.folder import holds_other
from lerl.run.locks import locked
from lerl.run.progress import Progress
from lerl.run.side_by_side import results
from lerl.run.work import Work

Say = Callable[[str], object]
OWN = ("trials", UNFINISHED, "log.txt", *reports.FILES)


def rank(asked: Request, out: Path, say: Say, pool: Executor | None = None) -> dict[str, Any]:
    """Fit what is not done yet, judge all, and write the report into the folder; the same request goes on.

    Args:
        asked: rows, seeds and data. out: the folder: trials/ROW-seedN.npz, ranks.parquet, summary.json, report.md,
            report.html.
        say: called with lines on the data, and on each trial that is done.
        pool: does the trials, such as `lerl.run.executors.executor`; this process where None.

    Returns:
        The content of summary.json.

    Raises:
        DataError: the data cannot be used as they are.
        RunError: the folder holds trials of other data or settings, or another process is at work there.
        FileExistsError: the folder holds something else.
        ValueError: a row cannot learn from these data with its settings.
        DivergedError: a row has learned what is no number.
    """
    choices, split = asked.data.read()
    for note in (*choices.notes, *split.notes):
        say(note)
    _check_folder(out)
    for row, settings in asked.rows.items():
        made = row_class(row)(split.items, settings)
        made.know(choices.texts)
        made.check()
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        names = digests(choices, split, asked)
        left = [trial for trial in asked.trials() if not is_done(asked, trial, out, names[trial.row])]
        _fit(asked, left, out, say, pool)
        shutil.rmtree(out / UNFINISHED, ignore_errors=True)
        found: dict[str, list[Judged]] = {}
        for trial in asked.trials():
            found.setdefault(trial.row, []).append(read(path_of(out, trial)))
        summary = {
            "data": {
                "path": str(asked.data.path),
                "users": len(choices.users),
                "judged": len(split.test),
                "items": split.items,
                "choices": len(choices.lists.values),
                "split": "a tenth of the bundles" if is_bundles(asked.data.path) else asked.data.split,
                "exclude_history": asked.data.exclude,
                "seed": asked.data.seed,
                "notes": [*choices.notes, *split.notes],
            },
            "settings": {row: asdict(settings) for row, settings in asked.rows.items()},
            "seed_of": list(asked.seeds),
            **judge(found),
        }
        summary["claims"] = claims(summary)
        users = [choices.users[user] for user in split.test.users]
        reports.write(summary, found, users, out)
        report_rank(out)
    return summary


def _check_folder(out: Path) -> None:
    if out.is_dir():
        refuse_links(out)
    if holds_other(out, *OWN):
        raise FileExistsError(f"{out} holds something other than rows that were ranked; give another folder with --out")


def _fit(asked: Request, left: list[Trial], out: Path, say: Say, pool: Executor | None) -> None:
    """Do what is left; of two that are of one row and one seed, none is done twice."""

    def done(number: int, trial: Trial) -> None:
        about = read(path_of(out, trial)).about
        epochs = f", epoch {about['best']} of {about['epochs']} tried" if about["epochs"] else ""
        say(
            f"[{number}/{len(left)}] {trial.name}: {about['parameters']:,} parameters{epochs}, {about['seconds']:.0f} s"
        )
        for note in about.get("notes", ()):
            say(f"{trial.name}: {note}")

    if pool is None:
        with Progress() as progress:
            for number, trial in enumerate(left, 1):
                run(asked.data, trial, asked.rows[trial.row], out, progress.report)
                done(number, trial)
        return
    reads = tuple(path for path in (asked.data.path, asked.data.items) if path)
    works = [Work(one.name, do, (asked.data, one, asked.rows[one.row], out), out, reads) for one in left]
    for number, (place, _) in enumerate(results(works, pool), 1):
        done(number, left[place])
