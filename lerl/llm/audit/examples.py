"""Examples that a person can read: claims that are false, and plans that moved with a cue."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lerl.llm.audit.arrays import Planned
from lerl.llm.audit.helm import Reason

SHOWN = 8  # of each, at most


def false_claims(reasons: Sequence[Reason]) -> list[dict[str, Any]]:
    """Reasons with a false claim, one of each kind of claim first."""
    found: list[dict[str, Any]] = []
    kinds = dict[str, list[dict[str, Any]]]()
    for reason in reasons:
        wrong = [claim for claim in reason.given if not claim.true]
        if wrong and reason.answer.choice is not None:
            kinds.setdefault(wrong[0].kind, []).append(
                {
                    "prompt": reason.answer.user,
                    "answer": reason.answer.text,
                    "rationale": reason.answer.choice.rationale,
                    "claim": wrong[0].words,
                    "why": wrong[0].evidence,
                    "kind": wrong[0].kind,
                }
            )
    while any(kinds.values()) and len(found) < SHOWN:
        for own in kinds.values():
            found += [own.pop(0)] if own else []
    return found[:SHOWN]


def shifted_plans(plans: Planned, names: Sequence[str]) -> list[dict[str, Any]]:
    """The plans that moved furthest from the plan of the same state without a cue, at most one a kind and attribute."""
    order = np.argsort(-np.nan_to_num(plans.distance, nan=-1.0), kind="stable")
    plain = {answer.state: answer for answer in plans.answers if answer.part == "plan"}
    found, seen = [], set()
    for number in order.tolist():
        answer = plans.answers[number]
        if answer.cue is None or not plans.distance[number] > 0 or (answer.cue.kind, answer.cue.attribute) in seen:
            continue
        seen.add((answer.cue.kind, answer.cue.attribute))
        before = plain[answer.state].choice
        if before is None or answer.choice is None:
            continue
        found.append(
            {
                "cue": answer.cue.text,
                "kind": answer.cue.kind,
                "group": answer.cue.group,
                "prompt": answer.user
                if answer.cue.place != "system"
                else f"[system] … {answer.cue.text}\n\n{answer.user}",
                "answer": answer.text,
                "without": [names[c] for c in before.allowed],
                "with": [names[c] for c in answer.choice.allowed],
            }
        )
        if len(found) == SHOWN:
            break
    return found
