"""lerl fit and fidelity: how real the simulated users are."""

import argparse
import json
from pathlib import Path
from typing import Any

from lerl.cli.parser import Parser, UsageError, add_json, say, whole_number

FIDELITY_HELP = (
    "Find out how well simulated sessions agree with the real ones of a log. What was shown and how users react is "
    "fitted to the log's training users. For each held-out user, tastes are estimated from the first half of the log "
    "and the second half is simulated. Real and simulated second halves are compared: statistics with 95 % intervals "
    "over users, and a classifier that tries to tell them apart. Takes some minutes."
)

FIT_HELP = (
    "Fit a model of users to the log of a prepared folder, and report how well it predicts what held-out users did: on "
    "all their events, on the last 15 % of each user's, and on items that no training user met; beside a strong "
    "baseline (mean of the user so far and mean of the item) and gradient boosting. Model sequence is a causal "
    "Transformer over items and feedback, written to FOLDER/response.npz for --env.response sequence; with --cache "
    "collective a simulated user takes a tenth of the memory or less: another model, written to "
    "FOLDER/response-collective.npz for --env.response collective. Model latent is "
    "the latent-factor model that FOLDER was prepared with. The log must have times. After an interruption, the same "
    "command goes on. --knowledge federated instead learns what agents know of items from users that keep their logs, "
    "in rounds in which only codes and counts travel, and writes FOLDER/knowledge-federated.npz for "
    "--data.knowledge federated. --returns instead fits how long until people come back, by how good sessions were, "
    "with controls and a check on held-out users; prints settings of env.return_ and writes FOLDER/returns.json, for "
    "--data.returns fitted."
)


def run_fidelity(arguments: list[str]) -> None:
    """lerl fidelity"""
    parser = Parser("lerl fidelity", description=FIDELITY_HELP, allow_abbrev=False)
    add = parser.add_argument
    add("folder", metavar="FOLDER", type=Path, help="a folder that lerl data import or prepare wrote")
    add(
        "--topics",
        choices=("categories", "hidden"),
        default="categories",
        help="topics that users get bored of (categories)",
    )
    most = whole_number(2, 1_000_000)
    add("--users", metavar="N", type=most, default=1000, help="compare at most N held-out users (1000)")
    add("--seed", metavar="N", type=whole_number(0, 2**32 - 1), default=0, help="seed of all random draws (0)")
    add("--out", metavar="FOLDER", type=Path, help="where to write fidelity.json and pictures (the folder itself)")
    add_json(parser)
    given = parser.parse_args(arguments)

    from lerl.envs.files import write_whole
    from lerl.users import fidelity

    found, page = fidelity.measure(given.folder, topics=given.topics, seed=given.seed, users=given.users, report=say)
    out = given.out or given.folder
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "fidelity.json", fidelity.as_json(found) + "\n")
    picture = fidelity.draw(found, page, given.folder.name, out)[0]
    if given.json:
        print(fidelity.as_json(found))
        return
    print("\n".join(fidelity.lines(found)))
    print(f"written: {out / 'fidelity.json'} and {picture}, also as .svg")


def run_fit(arguments: list[str]) -> None:
    """lerl fit"""
    parser = Parser("lerl fit", description=FIT_HELP, allow_abbrev=False)
    add = parser.add_argument
    add("folder", metavar="FOLDER", type=Path, help="a folder that lerl data import or prepare wrote")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", choices=("latent", "sequence"), help="what to fit")
    what.add_argument("--returns", action="store_true", help="fit the gaps between sessions; takes minutes")
    what.add_argument("--knowledge", choices=("federated",), help="learn what agents know in a federation of users")
    add("--seed", metavar="N", type=whole_number(0, 2**32 - 1), default=0, help="seed of the training (0)")
    add("--epochs", metavar="N", type=whole_number(1, 1000), help="at most N passes over the log")
    dynamics = "also fit boredom, fatigue, moods and drift, for --data.users fitted; takes minutes"
    add("--dynamics", action="store_true", help=dynamics)
    caches = "of --model sequence: what is kept of a user's events, keys and values or a few numbers and shared rows"
    add("--cache", choices=("full", "collective"), default="full", help=f"{caches} (full)")
    add("--own", metavar="N", type=whole_number(1, 31), help="of --cache collective: numbers of an event's own (1)")
    add("--pool", metavar="N", type=whole_number(1, 1 << 20), help="of --cache collective: shared rows (256)")
    add("--pause", metavar="N", type=whole_number(1, 1440), help="of --returns: minutes that end a session (30)")
    add("--weekly", action="store_true", help="of --returns: also fit how much the day of the week matters")
    _add_federation(parser)
    add_json(parser)
    given = parser.parse_args(arguments)
    _check_fit(given)
    if given.knowledge or given.returns:
        (_run_knowledge if given.knowledge else _run_returns)(given)
        return

    from lerl.report.tables import show
    from lerl.run.progress import Progress
    from lerl.users.evaluate import table
    from lerl.users.fit import Cache, fit_users

    try:
        with Progress() as progress:
            found = fit_users(
                given.folder,
                given.model,
                seed=given.seed,
                epochs=given.epochs,
                dynamics=given.dynamics,
                cache=Cache(given.cache, given.own or 1, given.pool or 256),
                report=progress.report,
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command goes on with the fit") from None
    if given.json:
        print(found.json())
        return
    show(table(found.judgement))
    for line in found.notes:
        print(line)
    print(f"written: {', '.join(map(str, found.files))}")


FEDERATION: dict[str, Any] = {
    "codes": "3x256",
    "rounds": 100,
    "robust": "mean",
    "clip": 0.0,
    "noise": 0.0,
    "processes": 0,
}
"""Flags that only a federation has, with what they are where they are not given."""


def _add_federation(parser: Parser) -> None:
    """The flags of a federation; None where they are not given, so that --model can refuse them."""
    group = parser.add_argument_group("with --knowledge federated")
    add = group.add_argument
    add("--codes", metavar="LxK", type=_codes, help="L digits with K codes each for every item (3x256)")
    add("--rounds", metavar="N", type=whole_number(1, 100_000), help="rounds of all clients (100)")
    robust = "how uploads are put together: mean, or against bad clients capped, trimmed or median (mean)"
    add("--robust", choices=("mean", "capped", "trimmed", "median"), help=robust)
    add("--clip", metavar="X", type=_number, help="cut each upload to this length (not)")
    add("--noise", metavar="X", type=_number, help="noise in a round's sum, in units of --clip; prints epsilon (none)")
    processes = (
        "send messages for real: N client processes and a server on this machine, by gRPC; needs lerl-rec[federated]"
    )
    add("--processes", metavar="N", type=whole_number(1, 256), help=processes)
    add(
        "--compare", action="store_true", help="only print a table: popularity, central, dense, sparse, codes, controls"
    )
    add("--seeds", metavar="N", type=whole_number(1, 100), help="seeds of each row of --compare (3)")
    add("--noisy", metavar="X", type=_share, help="share of clients of --compare whose clicks are chance (0)")


def _codes(text: str) -> tuple[int, int]:
    levels, by, size = text.partition("x")
    if not (by and levels.isdecimal() and size.isdecimal()):
        raise argparse.ArgumentTypeError(f"must be LxK such as 3x256, given {text!r}")
    if not (1 <= int(levels) <= 8 and 2 <= int(size) <= 16_384):
        raise argparse.ArgumentTypeError(f"must be from 1x2 to 8x16384, given {text!r}")
    return int(levels), int(size)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, given {text!r}")
    return value


def _share(text: str) -> float:
    value = _number(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 1, given {text!r}")
    return value


def _check_fit(given: Any) -> None:
    """Refuse flags of one kind of fit with the other."""
    own = [name for name in (*FEDERATION, "compare", "seeds", "noisy") if getattr(given, name)]
    chosen = "model" if given.model else "returns" if given.returns else "knowledge"
    if chosen != "knowledge" and own:
        raise UsageError(f"--{own[0]} is for --knowledge federated; leave it out with --{chosen}")
    if given.pause and not given.returns:
        raise UsageError(f"--pause is for --returns; leave it out with --{chosen}")
    if given.weekly and not given.returns:
        raise UsageError(f"--weekly is for --returns; leave it out with --{chosen}")
    of_model = [name for name in ("epochs", "dynamics", "own", "pool") if getattr(given, name)]
    of_model += ["cache"] if given.cache != "full" else []
    if chosen != "model" and of_model:
        raise UsageError(f"--{of_model[0]} is for --model; leave it out with --{chosen}")
    if given.cache == "full" and (given.own or given.pool):
        raise UsageError("--own and --pool are of a collective cache: give --cache collective with them")
    if (given.seeds or given.noisy) and not given.compare:
        raise UsageError(f"--{'seeds' if given.seeds else 'noisy'} is for --compare; give that too")
    if given.noise and not given.clip:
        raise UsageError("--noise is in units of --clip; give --clip too")
    if given.compare and given.processes:
        raise UsageError("--processes is not for --compare, whose rows are all simulated; leave it out")


def _run_knowledge(given: Any) -> None:
    from lerl.agents.federated.fit import Plan
    from lerl.run.progress import Progress
    from lerl.users.federated import fit_knowledge

    for name, usual in FEDERATION.items():
        if getattr(given, name) is None:
            setattr(given, name, _codes(usual) if name == "codes" else usual)
    levels, size = given.codes
    plan = Plan(
        given.rounds, levels, size, seed=given.seed, robust=given.robust, clip=given.clip, noise=given.noise
    )  # fmt: skip
    if given.compare:
        _print_comparison(given, plan)
        return
    with Progress() as progress:
        found = fit_knowledge(given.folder, plan, processes=given.processes, report=progress.report)
    if given.json:
        print(json.dumps({**found.about, "notes": list(found.notes), "file": str(found.file)}, indent=2))
        return
    for line in found.notes:
        print(line)
    print(f"written: {found.file}")


def _run_returns(given: Any) -> None:
    from time import time

    from lerl.run.progress import Progress
    from lerl.users.returns import as_json, fit_returns, lines, next_command

    with Progress() as progress:
        found = fit_returns(
            given.folder,
            pause=given.pause or 30,
            weekly=given.weekly,
            seed=given.seed,
            report=progress.report,
            now=time(),
        )
    if given.json:
        print(as_json(found))
        return
    print("\n".join([*lines(found), f"written: {found.file}"]))
    if found.usable:
        print(f"judge agents on people who come back so: {next_command(found)}")


def _print_comparison(given: Any, plan: Any) -> None:
    from lerl.users.federated_compare import as_json, compare, compare_new, guarded, lines

    seeds = given.seeds or 3
    rows = compare(given.folder, plan, seeds, noisy=given.noisy or 0.0, say=say)
    new = [] if given.noisy or guarded(plan) else compare_new(given.folder, plan, seeds, say=say)
    if given.json:
        print(json.dumps(as_json([*rows, *new]), indent=2))
        return
    print("\n".join([*lines(rows), *(lines(new) if new else [])]))
