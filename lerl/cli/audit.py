"""lerl audit: may this planner be trusted?"""

import json
from argparse import Namespace
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lerl.cli.parser import Parser, UsageError, add_json, add_trust, temperature, whole_number

if TYPE_CHECKING:
    from lerl.config.schema import Config

USAGE = """\
lerl audit --model PROVIDER:NAME [--base-url URL] [--cues FILE] [--plan]
                  [--out FOLDER]
       lerl audit --model scripted:NAME [--out FOLDER]
       lerl audit --planner NAME [--out FOLDER]
       lerl audit RUN [--out FOLDER]"""

HELP = (
    "Find out whether a planner may be trusted: whether its reasons are true, whether it treats people alike who "
    "behave alike, and whether another test would say the same. A chat model is asked about simulated sessions as they "
    "are, again, in other words, and with cues to the user's gender, ethnicity or age in them. Of a RUN only what it "
    "recorded is judged. Writes audit.html, audit.json and audit.parquet. The same command again goes on where it "
    "stopped."
)
WORLD = {
    "planner.axis": "categories", "planner.size": "3", "env.topics": "categories", "data.synthetic.categories": "8",
    "data.synthetic.items": "200",
}  # fmt: skip
"""Of quickstart, where no recipe is given: eight categories, which get names, and which people tire of."""


def run_audit(arguments: list[str]) -> None:
    """lerl audit"""
    given = _parser().parse_args(arguments)
    _refuse(given)

    from lerl.llm.audit import audit
    from lerl.llm.audit.cells import CELLS
    from lerl.llm.audit.ratings import read_ratings
    from lerl.run.progress import Progress

    rated = read_ratings(given.ratings, CELLS) if given.ratings else {}
    if given.run is not None:
        _show(audit.audit_run(given.run, given.out, rated, given.trust).whole, given)
        return
    config = _config(given)
    if given.planner is not None:
        with Progress() as progress:
            found = audit.audit_planner(config, given.states, given.out, rated, progress.report)
        _show(found.whole, given)
        return
    _of_model(config, rated, given)


def _of_model(config: "Config", rated: Any, given: Namespace) -> None:
    from lerl.llm.audit import audit
    from lerl.llm.audit.cues import read_cues
    from lerl.llm.audit.subject import check_subject
    from lerl.run.progress import Progress

    cues = read_cues(given.cues)
    if given.attributes is not None:
        cues = cues.only(tuple(name.strip() for name in given.attributes.split(",")))
    if given.plan:
        from lerl.cli.data import print_rows
        from lerl.llm.audit import estimate

        found = estimate.estimate(config, cues, given.states)
        if given.json:
            print(json.dumps(vars(found), indent=1))
        else:
            print_rows(estimate.rows(found, config, given.out))
        return
    check_subject(config.planner)
    with Progress() as progress:
        judged = audit.audit_model(config, cues, given.states, given.out, rated, progress.report)
    _show(judged.whole, given)


def _show(whole: dict[str, Any], given: Namespace) -> None:
    if given.json:
        print(json.dumps(whole, indent=1, ensure_ascii=False))
        return

    from lerl.cli.data import print_rows

    measured = Counter(cell["dimension"] for cell in whole["cells"] if cell["score"] is not None)
    scores = [
        (name, "empty" if score is None else f"{score:.2f} of 5, {measured[name]} of 4 cells")
        for name, score in whole["dimensions"].items()
    ]
    mean, empty = whole["hcs_auto"], ", ".join(whole["empty_cells"])
    hcs = ("HCS-auto", "none" if mean is None else f"{mean:.2f} of 5; empty: {empty}")
    print_rows([("audited", f"{whole['subject']}, {whole['of']}"), *scores, hcs])
    for line in whole["verdict"]:
        print(line)
    print(f"page: {given.out / 'audit.html'}")


def _parser() -> Parser:
    parser = Parser("lerl audit", usage=USAGE, description=HELP, allow_abbrev=False)
    add = parser.add_argument
    add("run", metavar="RUN", nargs="?", type=Path, help="a folder that lerl train wrote, with a chat model's plans")
    add("--model", metavar="PROVIDER:NAME", help="a chat model, or a planted planner such as scripted:expert")
    add("--planner", metavar="NAME", help="any other planner: a rule, distilled, or your own as my_module:MyPlanner")
    add("--distilled", metavar="RUN", help="for --planner distilled: the run that lerl distill wrote it into")
    add("--base-url", "--base_url", metavar="URL", help="address of the endpoint, if it is not the provider's own")
    add("--prompts", metavar="FOLDER", help="a folder with your own prompt texts")
    add("--cues", metavar="FILE", type=Path, help="your own cues in YAML (lerl's own)")
    add("--attributes", metavar="NAMES", help="only the cues of these attributes, such as gender,age (all)")
    add("--states", metavar="N", type=whole_number(2, 100_000), default=120, help="sessions that are asked about (120)")
    add("--recipe", metavar="RECIPE", help="whose simulated users these are (quickstart with eight categories)")
    add("--data", metavar="FOLDER", help="a prepared folder, as data.path of the recipe")
    add("--users", choices=("fitted", "assumed"), help="how its users get bored and tired, as data.users of the recipe")
    add("--ratings", metavar="FILE", type=Path, help="a CSV of ratings for cells that nothing measures")
    add("--calls", metavar="N", type=whole_number(0, 10**9), help="requests that may be sent at most")
    add("--tokens", metavar="N", type=whole_number(0, 10**12), help="tokens that may be used at most")
    add("--money", metavar="X", type=float, help="what may be spent at most, with --price")
    add("--price", metavar="IN,OUT", help="price of a million tokens of prompts and of answers")
    add("--timeout", metavar="S", type=float, default=30.0, help="seconds that an answer may take (30)")
    add("--temperature", metavar="T", type=temperature, default=0.0, help="of the answers, null to send none (0)")
    add("--answer-tokens", metavar="N", type=int, default=600, help="largest number of tokens of an answer (600)")
    add("--concurrency", metavar="N", type=int, default=8, help="number of prompts sent at the same time (8)")
    add("--replay", metavar="FOLDER", help="take all answers from another audit's record; nothing is asked")
    add(
        "--seed", metavar="N", type=whole_number(0, 2**32 - 1), default=0, help="seed of the users and of all draws (0)"
    )
    add("--plan", action="store_true", help="say what will be asked, what it costs and what it can see; ask nothing")
    add("--out", metavar="FOLDER", type=Path, default=Path("audit"), help="where to write (audit)")
    add_json(parser)
    add_trust(parser)
    return parser


ASKING = ("base_url", "prompts", "cues", "attributes", "calls", "tokens", "money", "price", "replay")
"""Options that a chat model alone takes."""


def _refuse(given: Namespace) -> None:
    """Refuse what does not go together.

    Raises:
        UsageError: the message says what to give.
    """
    subjects = [name for name in ("run", "model", "planner") if getattr(given, name) is not None]
    if len(subjects) != 1:
        many = " and ".join(subjects) or "none"
        raise UsageError(f"give one of a RUN, --model PROVIDER:NAME and --planner NAME, given {many}")
    if subjects != ["model"]:
        wrong = next((name for name in ASKING if getattr(given, name) is not None), "plan" if given.plan else None)
        if wrong is not None:
            raise UsageError(f"--{wrong.replace('_', '-')} goes with --model; leave it out")
    if (given.distilled is None) == (given.planner == "distilled"):
        raise UsageError("--planner distilled and --distilled RUN go together")
    if given.planner == "llm":
        raise UsageError("--planner llm is a chat model: give --model PROVIDER:NAME")
    if subjects == ["run"] and (given.recipe or given.data or given.users):
        raise UsageError("a RUN has its own recipe and data; leave out --recipe, --data and --users")
    if given.money is not None and given.price is None:
        raise UsageError("--money needs --price IN,OUT, per million tokens")


def _config(given: Namespace) -> "Config":
    """The configuration that states are taken from, and the planner's settings."""
    from lerl.config.parse import configure
    from lerl.config.recipes import find_recipe
    from lerl.run.trust import check_recipe

    recipe = find_recipe(given.recipe or "quickstart")
    check_recipe(recipe, given.trust)
    flags: dict[str, str | None] = {} if given.recipe else dict(WORLD)
    flags["planner.name"] = given.planner or "llm"
    flags["seed"] = str(given.seed)
    flags["planner.reflections"] = "0"
    names = {
        "data": "data.path", "users": "data.users", "model": "planner.model", "base_url": "planner.base_url",
        "prompts": "planner.prompts",
        "calls": "planner.budget.calls", "tokens": "planner.budget.tokens", "money": "planner.budget.money",
        "timeout": "planner.timeout", "answer_tokens": "planner.answer_tokens", "concurrency": "planner.concurrency",
        "replay": "planner.replay", "distilled": "planner.distilled",
    }  # fmt: skip
    flags |= {key: str(getattr(given, name)) for name, key in names.items() if getattr(given, name) is not None}
    flags["planner.temperature"] = "null" if given.temperature is None else str(given.temperature)
    if given.price is not None:
        parts = given.price.split(",")
        if len(parts) != 2:
            raise UsageError(
                f"--price takes two numbers, of a million tokens of prompts and of answers, given {given.price!r}"
            )
        flags["planner.price.input"], flags["planner.price.output"] = parts
    return configure(recipe, flags)
