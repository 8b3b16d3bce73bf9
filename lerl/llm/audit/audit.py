"""One audit: ask or read, judge, and write audit.json, audit.parquet and audit.html."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lerl.config.schema import Config
from lerl.envs.catalog import Axis
from lerl.envs.files import write_whole
from lerl.llm import probe
from lerl.llm.audit import helm
from lerl.llm.audit.arrays import measured, planned, question_rows
from lerl.llm.audit.cells import HumanCentred, human_centred
from lerl.llm.audit.cues import Cues
from lerl.llm.audit.effects import effects
from lerl.llm.audit.examples import false_claims, shifted_plans
from lerl.llm.audit.matrix import Matrix, matrix
from lerl.llm.audit.ratings import Rated
from lerl.llm.audit.recorded import recorded
from lerl.llm.audit.states import States, stopped
from lerl.llm.audit.subject import NOT_ASKED, Answers, Report, ask_model, ask_planner
from lerl.llm.audit.validity import validity, verdicts
from lerl.llm.audit.verdict import sentences
from lerl.planners.base import Planner
from lerl.planners.config import PlannerConfig
from lerl.planners.llm.guard import Guard
from lerl.planners.llm.planner import MODELS, build_model
from lerl.planners.rules import build_planner
from lerl.report.page.audit import write_audit_page
from lerl.run.evaluate import write_table
from lerl.run.locks import locked
from lerl.run.task import Task

JSON, TABLE, PAGE = "audit.json", "audit.parquet", "audit.html"


@dataclass(frozen=True)
class Audited:
    """What is written.

    Attributes:
        whole: content of audit.json. table: a row a question.
    """

    whole: dict[str, Any]
    table: pl.DataFrame


def audit_task(config: Config) -> Task:
    """The task that states are taken from; made-up categories get the names of made-up histories, where there are as
    many, as a model cannot tell anything from "category 3"."""
    task = Task.load(config)
    names = probe.NAMES[0]
    if config.data.path is None and config.planner.axis == "categories" and len(task.axis.names) == len(names):
        return replace(task, axis=Axis(names, task.axis.membership))
    return task


def audit_model(
    config: Config, cues: Cues, count: int, out: Path, rated: Mapping[str, Rated], report: Report
) -> Audited:
    """Ask the chat model of a configuration about `count` states, and judge what it answers.

    Raises:
        ChatError, TrafficError, ReplayError, RunError: see `ask_model` and `stopped`.
    """
    task = audit_task(config)
    states = stopped(task, count)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        answers = ask_model(config.planner, states, cues, task.seed("audit", "order"), out, report)
        return _written(_judged(answers, states, cues, config, rated), out)


def audit_planner(config: Config, count: int, out: Path, rated: Mapping[str, Rated], report: Report) -> Audited:
    """The same of a planner that is no chat model, planner.name of a configuration; no cue can reach it.

    Raises:
        PluginError, PlanError, RunError: it cannot be used, or answers something that is no plan.
    """
    task = audit_task(config)
    states = stopped(task, count)
    how = config.planner
    answers = ask_planner(
        how.name, partial(_made, how, task.seed("planner")), how.size, states, task.seed("audit", "order")
    )
    report("questions", len(answers.all), len(answers.all), None)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        return _written(_judged(answers, states, None, config, rated), out)


def _made(settings: PlannerConfig, seed: int, size: int) -> Planner:
    """A planner that is no chat model, whose plans allow `size` categories."""
    if settings.name in MODELS:
        return build_model(settings.name, replace(settings, size=size), seed, _nobody)
    return build_planner(settings.name, size, seed, "--planner")


def _nobody() -> Guard:
    raise AssertionError("a network alone asks no chat model")


def audit_run(run: Path, out: Path, rated: Mapping[str, Rated], trust: bool = False) -> Audited:
    """Judge what a run recorded; nothing is asked.

    Raises:
        RunError, TrafficError: see `recorded`.
    """
    found = recorded(run, trust)
    whole = human_centred(found.measures, rated)
    data = {
        "subject": found.model,
        "of": f"the plans that {run} recorded",
        **_of_cells(whole),
        "questions": {"reasons": len(found.reasons), "other prompts": found.unread},
        "examples": {"false claims": false_claims(found.reasons), "shifted plans": []},
    }
    uncued = "a run's users say nothing of themselves. Ask with: lerl audit --model PROVIDER:NAME"
    data["verdict"] = sentences(whole, found.reasons, None, None, "", uncued=uncued)
    rows = [
        {
            "query": one.answer.key,
            "rationale": one.answer.choice.rationale if one.answer.choice else "",
            "claims": len(one.given),
            "true_claims": sum(claim.true for claim in one.given),
            "real_claims": None if one.real is None else len(one.real),
            "true_real_claims": None if one.real is None else sum(claim.true for claim in one.real),
        }
        for one in found.reasons
    ]
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        return _written(Audited(data, pl.DataFrame(rows, infer_schema_length=None)), out)


def _judged(answers: Answers, states: States, cues: Cues | None, config: Config, rated: Mapping[str, Rated]) -> Audited:
    plans, size = planned(answers, states), config.planner.size
    reasons = helm.reasons(answers, states)
    own = helm.exposure(states, *plans.part("plan"))
    reference = helm.references(states, size, states.task.seed("audit", "references"))
    cells = helm.measures(answers, states, own, reference, reasons, size)
    noise = helm.noise(answers, len(states.contexts.names))
    found, grid, told = None, None, None
    if cues is not None and any(answer.cause != NOT_ASKED for answer in answers.of("cue")):
        arrays = measured(plans, answers, states, cues)
        seed = states.task.seed("audit", "bootstrap")
        moved, checks = effects(arrays, seed=seed), validity(arrays, seed=seed)
        told = verdicts(arrays, moved, checks)
        found = {"effects": asdict(moved), "validity": asdict(checks), "verdicts": [asdict(one) for one in told]}
        grid = matrix(plans, cues)
        equity = helm.equity(grid.between, noise)
        cells |= {} if equity is None else {"demographic equity": equity}
    whole = human_centred(cells, rated)
    data = {
        "subject": answers.subject,
        "of": f"{len(states)} simulated sessions",
        **_of_cells(whole),
        "exposure": {"planner": asdict(own), **{name: asdict(one) for name, one in reference.items()}},
        "noise": noise,
        "questions": _counted(answers),
        "stopped": answers.stopped,
        "asked": _effort(answers),
        "cues": None if cues is None or grid is None else _of_cues(cues, grid),
        "probing": found,
        "examples": {
            "false claims": false_claims(reasons),
            "shifted plans": shifted_plans(plans, states.contexts.names),
        },
    }
    asked = sum(answer.cause != NOT_ASKED for answer in answers.all), len(answers.all)
    why = {} if cues is None else {"uncued": "the audit stopped before"}
    data["verdict"] = sentences(whole, reasons, told, grid, answers.stopped, asked, **why)
    return Audited(data, question_rows(plans, answers, states, reasons))


def _of_cells(whole: HumanCentred) -> dict[str, Any]:
    return {
        "hcs_auto": whole.hcs_auto,
        "dimensions": dict(whole.scores),
        "cells": [asdict(cell) for cell in whole.cells],
        "empty_cells": list(whole.empty),
        "missing_dimensions": list(whole.missing),
    }


def _of_cues(cues: Cues, grid: Matrix) -> dict[str, Any]:
    return {
        "attributes": {name: list(groups) for name, groups in cues.attributes.items()},
        "kinds": list(cues.kinds),
        "instances": cues.instances,
        "matrix": [asdict(one) for one in grid.entries],
    }


def _counted(answers: Answers) -> dict[str, dict[str, int]]:
    """Questions by part, and what became of them."""
    found: dict[str, dict[str, int]] = {}
    for answer in answers.all:
        part = found.setdefault(answer.part, {"asked": 0, "usable": 0})
        part["asked"] += answer.cause != NOT_ASKED
        part["usable"] += not answer.cause
        if answer.cause:
            part[answer.cause] = part.get(answer.cause, 0) + 1
    return found


def _effort(answers: Answers) -> dict[str, Any] | None:
    if answers.report is None:
        return None
    names = ("calls", "prompt_tokens", "completion_tokens", "money")
    counts = {name: answers.report[name] for name in names if name in answers.report}
    return counts | {"adapted": list(answers.adapted)}


def plain(value: Any) -> Any:
    """The same for JSON: numbers that are none become null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _written(found: Audited, out: Path) -> Audited:
    whole = plain(found.whole)
    write_table(found.table, out / TABLE)
    write_whole(out / JSON, json.dumps(whole, indent=1, ensure_ascii=False))
    write_audit_page(whole, out / PAGE)
    return Audited(whole, found.table)
