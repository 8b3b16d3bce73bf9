"""lerl plan, distill and planner-probe: the chat model behind a planner."""

import argparse
import warnings
from pathlib import Path

from lerl.cli.parser import Parser, add_json, add_trust, temperature, whole_number
from lerl.cli.recipe import HELP_FLAGS, note_ineffective, one_recipe, print_help, refuse_unread, split

PLAN_USAGE = """\
lerl plan --run RUN [--user N] [--steps M]
       lerl plan --estimate RECIPE [--KEY VALUE ...] [--json]"""

PLAN_HELP = (
    "Show one plan of a run's chat model: the prompt, the raw answer and where it is from, the plan, and why a "
    "fallback planned where one did. The session is the first one of the user in the run's evaluation, with items "
    "ranked by taste as the agent llm+greedy does. Answers come from the run's record or from planner.cache where "
    "they hold the prompt; other prompts, at most one for each slate, are sent to the model now (all of them for a "
    "training user). Nothing in the run's folder changes."
)

ESTIMATE_HELP = """\
usage: lerl plan --estimate RECIPE [--KEY VALUE ...] [--json]

Estimate what the chat model of a recipe will cost. Nothing is sent, and no API
key is needed: up to 256 sessions of training users are simulated with the rule
planner.fallback instead of the model, the prompts that it would have got are
counted, and the count is extrapolated to the steps of the run.
{recipes}

  --planner.name llm             the planner in planner+ppo and planner+greedy
  --planner.model PROVIDER:NAME  the chat model
  --planner.price.input X        price of a million tokens of prompts
  --planner.price.output X       price of a million tokens of answers
  --planner.detail coarse        fewer different prompts
  --planner.replan_every N       steps a plan is kept
  --train.steps N                training steps per learned agent
  --json                         print JSON instead of a table

Example: lerl plan --estimate quickstart --planner.name llm
All keys: lerl plan --estimate --help-all
"""

DISTILL_HELP = (
    "Train a small network on the plans that a run's chat model made, print how often it agrees with plans that it was "
    "not trained on, and write it to RUN/planners/distilled.npz. --planner.name distilled --planner.distilled RUN then "
    "plans with it; with --planner.refresh N the chat model is asked about N states of each round of training "
    "sessions, those where the network is least sure."
)

PROBE_HELP = (
    "Find out whether the plans of a chat model react to feedback. Each pair of histories differs in one thing: a "
    "category that was shown four times was clicked less and less in one, more and more in the other; the "
    "model should rank it higher in the latter. Prompts, checks and retries are those of a run with "
    "planner.detail full."
)


def print_calls(run: Path) -> None:
    """Print what a run's chat model was asked, where it has one."""
    from lerl.llm import usage

    for line in usage.lines(run):
        print(line)


def run_plan(arguments: list[str]) -> None:
    """lerl plan"""
    if any(argument.partition("=")[0] == "--estimate" for argument in arguments):
        _estimate(arguments)
        return
    parser = Parser(
        "lerl plan",
        usage=PLAN_USAGE,
        description=PLAN_HELP,
        epilog="What a recipe's chat model will cost: see lerl plan --estimate --help.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--run", metavar="RUN", required=True, type=Path, help="a folder that lerl train wrote")
    add("--user", metavar="N", type=int, help="number of an evaluation or training user (the first one evaluated)")
    add("--steps", metavar="M", type=int, default=0, help="slates shown before the plan (0)")
    add_trust(parser)
    given = parser.parse_args(arguments)

    from lerl.llm import explain

    explain.show(explain.explain(given.run, given.user, given.steps, given.trust))


def _estimate(arguments: list[str]) -> None:
    switches = {"trust", "json", "print-config"}
    if HELP_FLAGS & set(arguments):
        print_help("plan --estimate", ESTIMATE_HELP, [word for word in arguments if word != "--estimate"], switches)
        return
    words, flags, given = split(arguments, switches)
    words += filter(None, [flags.pop("estimate")])
    name = one_recipe(words, "plan --estimate", "quickstart")

    from lerl.config.parse import configure
    from lerl.config.recipes import find_recipe

    recipe = find_recipe(name)
    config = configure(recipe, flags)
    refuse_unread("plan --estimate", flags)

    from lerl.llm import cost
    from lerl.report.tables import show
    from lerl.run.trust import check_recipe

    check_recipe(recipe, "trust" in given)
    note_ineffective(config, flags)
    found = cost.estimate(config)
    if "json" in given:
        print(cost.as_json(found))
        return
    show(cost.table(found))
    for line in cost.notes(found):
        print(line)


def run_distill(arguments: list[str]) -> None:
    """lerl distill"""
    parser = Parser("lerl distill", description=DISTILL_HELP, allow_abbrev=False)
    parser.add_argument(
        "run", metavar="RUN", type=Path, help="a folder that lerl train wrote, with a chat model's plans"
    )
    add_trust(parser)
    given = parser.parse_args(arguments)

    from lerl.cli.data import print_rows
    from lerl.llm import distill

    print_rows(distill.rows(distill.distill(given.run, given.trust)))
    print(f"plan with it: {distill.next_command(given.run)}")


def run_probe(arguments: list[str]) -> None:
    """lerl planner-probe"""
    parser = Parser("lerl planner-probe", description=PROBE_HELP, allow_abbrev=False)
    add = parser.add_argument
    add("--model", metavar="PROVIDER:NAME", required=True, help="such as openai:gpt-4.1-mini or ollama:llama3.1")
    add("--base-url", "--base_url", metavar="URL", help="address of the endpoint, if it is not the provider's own")
    add("--client", choices=("langchain", "openai"), help=argparse.SUPPRESS)
    add("--prompts", metavar="FOLDER", help="a folder with your own prompt texts")
    add(
        "--pairs",
        metavar="N",
        type=whole_number(1, 10_000),
        default=20,
        help="pairs of histories, two prompts each (20)",
    )
    add("--timeout", metavar="S", type=float, default=30.0, help="seconds that an answer may take (30)")
    add(
        "--temperature",
        metavar="T",
        type=temperature,
        default=0.0,
        help="temperature of the answers, null to send none (0)",
    )
    add("--answer-tokens", metavar="N", type=int, default=600, help="largest number of tokens of an answer (600)")
    add("--concurrency", metavar="N", type=int, default=8, help="number of prompts sent at the same time (8)")
    add(
        "--seed", metavar="N", type=whole_number(0, 2**32 - 1), default=0, help="seed of the users in the histories (0)"
    )
    add_json(parser)
    given = vars(parser.parse_args(arguments))
    pairs, seed, as_json, client = (given.pop(name) for name in ("pairs", "seed", "json", "client"))
    if client == "openai":
        warnings.warn("--client openai is left out: every chat model is called through LangChain now", stacklevel=2)

    from lerl.cli.data import print_rows
    from lerl.llm import probe
    from lerl.planners.config import PlannerConfig

    found = probe.probe(PlannerConfig(name="llm", fallback="random", **given), pairs, seed)
    if as_json:
        print(probe.as_json(found))
    else:
        print_rows(probe.rows(found))
