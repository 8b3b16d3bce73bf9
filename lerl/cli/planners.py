"""lerl plan, estimate, distill and probe"""

import argparse
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from lerl.cli.parser import (
    Parser,
    UsageError,
    add_trust,
    note_ineffective,
    recipe_help,
    refuse_unread,
    split,
    trusted,
    whole_number,
)

if TYPE_CHECKING:
    pass


PLAN_USAGE = """\
lerl plan --run RUN [--user N] [--steps M]
       lerl plan --estimate RECIPE [--any.key VALUE ...] [--json]"""


PLAN_HELP = (
    "Show one plan of a run's chat model: the prompt, the raw answer and where it is from, the plan, and why a "
    "fallback planned where one did. The session is the user's first one of the run's evaluation, items chosen by "
    "taste as in the row llm+greedy. What the run asked before comes from its record, or from planner.cache; other "
    "questions, at most one for each slate, are sent to the model now: all of them for a training user. The run's "
    "folder stays as it is."
)


ESTIMATE_HELP = (
    "Say what the chat model of a recipe will cost, before anything is sent; no key is needed. Up to 256 sessions of "
    "training users are played with planner.fallback in the model's place, and their questions counted and "
    "extrapolated to the run's steps. --json prints it for programs."
)


DISTILL_HELP = (
    "Train a small network on the plans that a run's chat model made, print how often it agrees with plans that it was "
    "not trained on, and write it to RUN/planners/distilled.npz. --planner.name distilled --planner.distilled RUN then "
    "plans with it; --planner.refresh N asks the model about N states of each lot of lessons, where it is unsure."
)


PROBE_HELP = (
    "Find out whether the plans of a chat model react to feedback. In each pair of histories everything is the same, "
    "but a category that was shown four times was clicked less and less in the one, more and more in the other; the "
    "model should treat it better in the other. Questions, checks and retries are those of a run whose planner.detail "
    "is full: coarse questions do not tell feedback."
)


def print_calls(run: Path) -> None:
    from lerl.llm import usage as calls

    for line in calls.lines(run):
        print(line)


def run_plan(arguments: list[str]) -> None:
    if any(argument.partition("=")[0] == "--estimate" for argument in arguments):
        run_estimate(arguments)
        return
    parser = Parser(
        "lerl plan",
        usage=PLAN_USAGE,
        description=PLAN_HELP,
        epilog=f"{ESTIMATE_HELP} See lerl plan --estimate RECIPE --help.",
        allow_abbrev=False,
    )
    parser.add_argument("--run", metavar="RUN", required=True, type=Path, help="a folder that lerl train wrote")
    parser.add_argument(
        "--user", metavar="N", type=int, help="an evaluation or training user's number (the first user judged)"
    )
    parser.add_argument("--steps", metavar="M", type=int, default=0, help="slates shown before the plan (0)")
    add_trust(parser)
    given = parser.parse_args(arguments)

    from lerl.llm import explain as plan

    plan.show(plan.explain(given.run, given.user, given.steps, given.trust))


def run_estimate(arguments: list[str]) -> None:
    words, flags = split([argument for argument in arguments if argument not in ("-h", "--help")])
    as_json, trust = "json" in flags, trusted(words, flags)
    recipes = [*words, *filter(None, (flags.pop("estimate"), flags.pop("json", None)))]
    if {"-h", "--help"} & set(arguments):
        print(recipe_help("plan --estimate", ESTIMATE_HELP, recipes, "[--json]"), end="")
        return
    if len(recipes) != 1:
        given = " and ".join(recipes) or "none"
        raise UsageError(
            f"give one recipe, such as lerl plan --estimate quickstart, given {given}; see lerl plan --help"
        )

    from lerl.config import parse as settings
    from lerl.llm import cost as estimate
    from lerl.report.tables import show
    from lerl.run.trust import check_recipe

    recipe = settings.find_recipe(recipes[0])
    config = settings.configure(recipe, flags)
    refuse_unread("plan --estimate", flags)
    check_recipe(recipe, trust)
    note_ineffective(config, flags)
    found = estimate.estimate(config)
    if as_json:
        print(estimate.as_json(found))
        return
    show(estimate.table(found))
    for line in estimate.notes(found):
        print(line)


def run_distill(arguments: list[str]) -> None:
    parser = Parser("lerl distill", description=DISTILL_HELP, allow_abbrev=False)
    parser.add_argument(
        "run", metavar="RUN", type=Path, help="a folder that lerl train wrote, with a chat model's plans"
    )
    add_trust(parser)
    given = parser.parse_args(arguments)
    run = given.run

    from lerl.cli.data import print_rows
    from lerl.llm import distill

    print_rows(distill.rows(distill.distill(run, given.trust)))
    print(f"plan with it: {distill.next_command(run)}")


def run_probe(arguments: list[str]) -> None:
    parser = Parser("lerl planner-probe", description=PROBE_HELP, allow_abbrev=False)
    add = parser.add_argument
    add("--model", metavar="PROVIDER:NAME", required=True, help="such as openai:gpt-4.1-mini or ollama:llama3.1")
    add("--base-url", "--base_url", metavar="URL", help="of its endpoint, where that is not the provider's own")
    add("--client", choices=("langchain", "openai"), help=argparse.SUPPRESS)
    add("--prompts", metavar="FOLDER", help="with prompt texts of your own")
    add("--pairs", metavar="N", type=whole_number(1, 10_000), default=20, help="of histories, two questions each (20)")
    add("--timeout", metavar="S", type=float, default=30.0, help="seconds that an answer may take (30)")
    add("--temperature", metavar="T", type=_temperature, default=0.0, help="of its answers, null to send none (0)")
    add("--answer-tokens", metavar="N", type=int, default=600, help="most tokens of an answer (600)")
    add("--concurrency", metavar="N", type=int, default=8, help="questions under way at once (8)")
    add("--seed", metavar="N", type=whole_number(0, 2**32 - 1), default=0, help="of the users in the histories (0)")
    add("--json", action="store_true", help="print it for programs")
    given = vars(parser.parse_args(arguments))
    pairs, seed, as_json, client = (given.pop(name) for name in ("pairs", "seed", "json", "client"))
    if client == "openai":
        warnings.warn("--client openai is left out: every chat model is asked through LangChain now", stacklevel=2)

    from lerl.cli.data import print_rows
    from lerl.llm import probe
    from lerl.planners.config import PlannerConfig

    found = probe.probe(PlannerConfig(name="llm", fallback="random", **given), pairs, seed)
    if as_json:
        print(probe.as_json(found))
    else:
        print_rows(probe.rows(found))


def _temperature(text: str) -> float | None:
    try:
        return None if text == "null" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 2, or null, given {text!r}") from None
