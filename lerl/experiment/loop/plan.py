"""`lerl loop --plan`: what is left to do."""

from pathlib import Path

from lerl.agents.learners.registry import LEARNERS
from lerl.experiment.loop.command import left_of
from lerl.experiment.loop.deploy import fitted_in
from lerl.experiment.loop.settings import Request


def plan_lines(asked: Request, out: Path) -> list[str]:
    """What is left, in a table of plain text: periods to play, fits before them, and training steps of these fits."""
    left = left_of(asked, out)
    wide = max([12, *(len(trial.name) for trial in left)])
    lines = [f"{'deployment':<{wide}} {'periods':>7} {'fits':>5} {'training steps':>14}"]
    periods = fits = steps = 0
    for trial, waiting in left.items():
        own = len({fitted_in(trial, period) for period in waiting})
        trained = own * asked.config.train.steps if trial.row.spec.learner in LEARNERS else 0
        lines.append(f"{trial.name:<{wide}} {len(waiting):>7} {own:>5} {trained:>14,}")
        periods, fits, steps = periods + len(waiting), fits + own, steps + trained
    days = asked.loop.retrain
    return [*lines, f"{periods} periods of {days} days, {fits} fits, {steps:,} training steps in all"]
