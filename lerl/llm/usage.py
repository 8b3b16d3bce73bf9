"""What the chat model of a run or a search cost, in a few lines."""

import json
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from lerl.config.parse import load
from lerl.files import reading, resume_command
from lerl.planners.config import PlannerConfig
from lerl.planners.llm.guard import BREAK_AFTER, summary
from lerl.planners.llm.traffic import Traffic, causes_text, percent


def lines(run: Path) -> list[str]:
    """What to print after a run, empty where no chat model was asked.

    Raises:
        RunError: the run's planners/traffic.json is damaged.
    """
    path = run / "planners" / "traffic.json"
    if not path.is_file():
        return []
    planner = load(run / "config.yaml").planner
    with reading(path, f"go on with: {resume_command(run)}"):
        report = json.loads(path.read_text(encoding="utf-8"))
        return _lines(report, planner)


def searched(folder: Path, planner: PlannerConfig) -> list[str]:
    """What to print after a search, of all its trials together; empty where no chat model was asked.

    Args:
        folder: of the search. planner: the recipe's.

    Raises:
        TrafficError: a trial's planners/traffic.sqlite is damaged.
    """
    phases: list[Mapping[str, float]] = []
    seconds: list[float] = []
    for path in sorted(folder.glob("trials/*/planners/traffic.sqlite")):
        with closing(Traffic(path, read_only=True)) as file:
            phases += file.counts().values()
            seconds += file.seconds()
    return _lines(summary(phases, seconds, planner.price), planner) if phases else []


def _lines(report: dict[str, Any], planner: PlannerConfig) -> list[str]:
    price = planner.price
    cost = f"cost {report['cost']:,.2f}" if price.input or price.output else "no price given"
    causes = report["fallbacks"]
    requests = max(report["requests"], 1)
    share = f"{percent(sum(causes.values()) / requests)} of {requests:,} plans and reflections: {causes_text(causes)}"
    rule = f" ({planner.fallback} planned)" if causes else ""
    breaker = f"             breaker: not asked, since the endpoint had failed {BREAK_AFTER} times in a row"
    return [
        f"chat model {planner.model}{f', replayed from {planner.replay}' if planner.replay else ''}",
        f"  calls      {report['calls']:,}, {report['calls_per_1000_user_steps']:,.1f} per 1,000 user-steps",
        f"  tokens     {report['prompt_tokens']:,} of questions, {report['completion_tokens']:,} of answers; {cost}",
        f"  requests   {report['requests']:,}, {report['deduplicated']:.0%} asked once for several users, "
        f"{report['cached']:.0%} known before",
        f"  fallbacks  {share if causes else 'none'}{rule}; {report['repairs']} repairs",
        *([breaker] if "breaker" in causes else []),
        f"  latency    {report['latency_p50']:.2f} s (p50), {report['latency_p95']:.2f} s (p95)",
    ]
