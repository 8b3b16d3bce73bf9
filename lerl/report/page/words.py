"""What the numbers of runs say, in sentences: which agent is better, by how much, for whom it is worse."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from lerl.config.schema import AUTO
from lerl.report.bootstrap import Summary, by_reward, ratios
from lerl.report.intervals import Interval, bracket, estimate_text
from lerl.report.page.people import Comparison, Group

TOLD = ("privileged", "informed")
"""Agents that are told what nobody can know: how far one could get, not what one could use."""
KNOWING_NOBODY = {"random": "which chooses items by lot", "popularity": "which shows everybody the same"}


CHAT = ("llm", "distilled")
"""Planners that are, or come from, a chat model."""
BORED = "They get bored of"
LEAVING = {
    "satisfaction": "the sooner the less satisfied they are, and the sooner they have had enough",
    "window": "where too many of the items that they saw last are of one topic",
    "budget": "when a number of steps is used up; a repetition uses up one more",
    "never": "never: every session has the same length",
}
"""What a user's leaving follows from, by the name of the rule."""
PARTS = {
    "auto": "of the other agents the one that training users preferred",
    "privileged": "reads the hidden state and looks ahead; a ceiling, not to be used on people",
    "informed": "is told the rules and the items, but not the person",
    "random": "as an agent: items by lot; before a +: plans by lot",
    "popularity": "the same for everybody: what was clicked most",
    "belief": "learns items, boredom and people from training sessions, and believes something of each person",
    "flat": "no planner",
    "boredom": "a planner by rule: categories that a person likes and is not tired of",
    "rotation": "a planner by rule: the same, and categories rest in between",
    "round_robin": "a planner by rule: all categories in turn",
    "llm": "a chat model plans",
    "distilled": "a network that learned a chat model's plans",
    "greedy": "items by the taste that is known",
    "ppo": "items by a policy that learned (PPO)",
    "return": "learned from people who come back, and from when they do",
    "jima": "outfits by a model of single items, pairs and wholes",
    "jima-without-third": "the same without what pairs are to the single person",
    "additive": "outfits by a model of single items alone",
    "cpd": "outfits by a CP decomposition of answers to wholes alone",
    "mmr": "items are re-ranked so that a slate is not all alike",
    "sasrec": "the next item of the log, by a sequence model",
    "hstu": "the next item of the log, by another sequence model",
    "tiger": "the next item of the log, named digit by digit by codes made of its words",
    "s2gr": "as tiger, with a thought before each digit",
    "tca": "learns from sasrec too",
    "mdgr": "the next item of the log, named by codes whose digits are said in any order",
    "items": "with item numbers in place of the first layer's keys and values",
    "collective": "with keys and values in a few bytes, most of them shared by all users",
}
"""What the parts of agents' names mean; PLANNER+POLICY."""


class Sentence(NamedTuple):
    """What is said, and the heading that it stands under."""

    head: str
    text: str


def usable(summary: Summary) -> list[str]:
    """The agents that could be used on real people, highest R_cum first."""
    return [agent for agent in by_reward(summary) if agent not in TOLD]


def leader(summary: Summary, reference: str | None = None) -> str:
    """The agent that the page speaks of: the reference, else the usable one with the highest R_cum; not `auto` where
    the agent that it chose has a row of its own."""
    agents = usable(summary)
    if reference is not None:
        return reference
    if agents[:1] == [AUTO] and len(agents) > 1 and _same(summary, AUTO, agents[1]):
        return agents[1]
    return (agents or by_reward(summary))[0]


def runner_up(summary: Summary, first: str) -> str | None:
    """The usable agent with the highest R_cum that earned something else than the first; None where there is none."""
    return next((agent for agent in usable(summary) if agent != first and not _same(summary, agent, first)), None)


def _same(summary: Summary, one: str, other: str) -> bool:
    return summary["agents"][one]["R_cum"] == summary["agents"][other]["R_cum"]


def reading(summary: Summary, first: str, people: Comparison | None) -> list[Sentence]:
    """Sentences about the agent `first`."""
    found = [Sentence("Which is better", _better(summary, first))]
    if (room := _room(summary, first)) is not None:
        found.append(Sentence("How far it could go", room))
    found.append(Sentence("What sessions are like", _sessions(summary, first)))
    if people is not None:
        found.append(Sentence("For whom", _whom(people)))
    return found


def _better(summary: Summary, first: str) -> str:
    one = summary["agents"][first]["R_cum"]
    others = [agent for agent in usable(summary) if agent != first and not _same(summary, agent, first)]
    said = f"{first} has an R_cum of {_number(one, 2)}: the share of a slate that is clicked, summed over a session."
    against = ratios(summary, first)
    behind = [agent for agent in others if _above(against[agent])]
    if not others:
        return f"{said} There is no other agent to compare it with."
    if len(behind) == len(others):
        said += f" That is more than each of the {len(others)} other agents that could be used."
    else:
        open_ = [agent for agent in others if not _above(against[agent]) and not _below(against[agent])]
        ahead = [agent for agent in others if _below(against[agent])]
        if ahead:
            said += f" Clearly better: {_listed(ahead)}."
        if open_:
            said += f" It cannot be told apart from {_listed(open_)}."
        if behind:
            said += f" It is clearly better than {_listed(behind)}."
    nearest = others[0]
    said += f" {_times(against[nearest], first, nearest)}"
    flat = next((agent for agent in others if agent.startswith("flat+")), None)
    if flat is not None and flat != nearest:
        said += f", and {_ratio(against[flat])} times that of {flat}, the best flat agent"
    floor = next((agent for agent in others if agent in KNOWING_NOBODY and agent != nearest), None)
    if floor is not None:
        said += f", and {_ratio(against[floor])} times that of {floor}, {KNOWING_NOBODY[floor]}"
    return f"{said}."


def _times(ratio: Interval, first: str, nearest: str) -> str:
    if ratio["mean"] is None:
        return f"The next is {nearest}"
    return f"Its R_cum is {_ratio(ratio)} times that of {nearest}, the best of the others"


def _room(summary: Summary, first: str) -> str | None:
    share = summary["agents"][first].get("normalised")
    if share is None or share["mean"] is None or first in TOLD:
        return None
    floor, ceiling = (summary["agents"][agent]["R_cum"] for agent in ("random", "privileged"))
    said = (
        f"Of the room between random ({floor['mean']:.2f}) and privileged ({ceiling['mean']:.2f}), which reads the "
        f"hidden state and cannot be used, {first} reaches {100 * share['mean']:.0f} %."
    )
    if "informed" in summary["agents"]:
        told = summary["agents"]["informed"]["R_cum"]["mean"]
        said += f" informed, which is told everything but the person, has {told:.2f}."
    return said


def _sessions(summary: Summary, first: str) -> str:
    one, other = summary["agents"][first], runner_up(summary, first)
    said = (
        f"People stay {one['T_int']['mean']:.1f} steps with {first}; mean satisfaction is "
        f"{one['satisfaction_mean']['mean']:.2f} of 1"
    )
    if other is None:
        return f"{said}."
    there = summary["agents"][other]
    return (
        f"{said}. With {other} they stay {there['T_int']['mean']:.1f} steps, with a satisfaction of "
        f"{there['satisfaction_mean']['mean']:.2f}."
    )


def _whom(people: Comparison) -> str:
    better, equal, worse = people.shares
    said = (
        f"{100 * better:.0f} % of the users get more from {people.first} than from {people.second}, "
        f"{100 * worse:.0f} % get less"
    )
    said += f", {100 * equal:.0f} % the same." if equal > 0.005 else "."
    if worse:
        said += " Chance alone makes some of them worse off: a user has one session or a few."
    worst = [group for group in people.groups if _end(group, "high") < 0]
    if worst:
        said += f" {people.first} is clearly worse for users with {_listed([group.name for group in worst])}."
    elif people.groups:
        least = min(people.groups, key=lambda group: _end(group, "mean"))
        sign = "+" if _end(least, "mean") >= 0 else ""
        said += (
            f" In none of the groups below it is clearly worse; it gains least for users with {least.name} "
            f"({sign}{_end(least, 'mean'):.2f} {bracket(least.difference, 2, '+')})."
        )
    return said


def _end(group: Group, end: str) -> float:
    value = group.difference[end]  # type: ignore[literal-required]
    return 0.0 if value is None else float(value)


def basis(config: Mapping[str, Any], users: int, agents: Iterable[str], log: str) -> list[tuple[str, str]]:
    """What the numbers rest on, as pairs of a name and what it is.

    Args:
        config: as nested dictionaries; keys may lack. users: judged on. agents: judged. log: its name.
    """
    data, env, train, evaluation = (config.get(name) or {} for name in ("data", "env", "train", "evaluation"))
    assumed = data.get("users", "assumed") == "assumed"
    people = (
        "assumed: how they get bored, tired and leave was set by hand. Compare agents; do not expect these clicks from "
        "people."
        if assumed
        else "fitted to the log: boredom, fatigue, drift and leaving are estimates with errors of their own."
    )
    if env.get("response") in ("sequence", "collective"):
        people = "clicks by a sequence model that was trained on the log; leaving by a rule that was set by hand."
    leave = env.get("leave") or {}
    on = [
        name
        for name in ("boredom", "fatigue", "drift", "mood")
        if isinstance(env.get(name), Mapping) and env[name].get("enabled", True)
    ]
    topics = {
        "hidden": "hidden topics of the items, which agents are not told",
        "categories": "the catalog's categories, which agents see",
    }
    found = [
        ("Users", people),
        (
            "Catalog",
            "made up, as its users are" if data.get("path") is None else f"{log}; tastes are estimated from it",
        ),
        ("People change by", ", ".join(on) or "nothing: tastes stay, nobody gets bored or tired"),
        (BORED, topics.get(str(env.get("topics")), str(env.get("topics")))),
        ("They leave", LEAVING.get(str(leave.get("rule")), f"by a rule of somebody's own, {leave.get('rule')}")),
        ("A session", f"slates of {env.get('slate_size')}, at most {env.get('max_steps')} of them"),
        (
            "Judged on",
            f"{users:,} users who were never trained on, {evaluation.get('replicates', 1)} sessions each; "
            "the same users and the same luck for every agent",
        ),
        (
            "Trained for",
            f"{train.get('steps', 0):,} user-steps, for every agent that learns, planners' lessons included",
        ),
    ]
    model = str((config.get("planner") or {}).get("model") or "")
    if model and any(agent.partition("+")[0] in CHAT for agent in agents):
        scripted = f"none: {model} is a rule that answers in a model's place, to test the wiring"
        found.append(("Chat model", scripted if model.startswith("scripted:") else model))
    return [(name, str(what)) for name, what in found if name != BORED or "boredom" in on]


def names_of(agents: Sequence[str]) -> list[tuple[str, str]]:
    """What the parts of these agents' names mean, as pairs of a part and its meaning."""
    whole = {part for agent in agents for part in (agent, *agent.split("+"))}
    parts = {part for one in whole for part in one.split("@")}
    return [(part, meaning) for part, meaning in PARTS.items() if part in parts]


def footnotes(seeds: Sequence[int]) -> str:
    """How far intervals go."""
    if len(seeds) > 1:
        return f"Intervals are 95 % (Student's t, over users and over {len(seeds)} seeds)."
    return (
        "Intervals are 95 % (bootstrap over users) for one seed: another seed trains other networks and may move the "
        "agents by more than these intervals say."
    )


def _above(ratio: Interval) -> bool:
    return ratio["low"] is not None and round(ratio["low"], 3) > 1


def _below(ratio: Interval) -> bool:
    return ratio["high"] is not None and round(ratio["high"], 3) < 1


def _number(value: Interval, digits: int) -> str:
    return f"{value['mean']:.{digits}f} {bracket(value, digits)}"


def _ratio(value: Interval) -> str:
    near = value["mean"] is not None and 0.9 < value["mean"] < 1.1  # where two digits would hide which side of 1
    return estimate_text(value, 3 if near else 2)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
