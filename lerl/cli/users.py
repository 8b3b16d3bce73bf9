"""lerl fit and fidelity: how real the simulated users are."""

import sys
from pathlib import Path

from lerl.cli.parser import Parser, UsageError, add_json, whole_number

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
    "command goes on."
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

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

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
    add("--model", required=True, choices=("latent", "sequence"), help="what to fit")
    add("--seed", metavar="N", type=whole_number(0, 2**32 - 1), default=0, help="seed of the training (0)")
    add("--epochs", metavar="N", type=whole_number(1, 1000), help="at most N passes over the log")
    dynamics = "also fit boredom, fatigue, moods and drift, for --data.users fitted; takes minutes"
    add("--dynamics", action="store_true", help=dynamics)
    caches = "of --model sequence: what is kept of a user's events, keys and values or a few numbers and shared rows"
    add("--cache", choices=("full", "collective"), default="full", help=f"{caches} (full)")
    add("--own", metavar="N", type=whole_number(1, 31), help="of --cache collective: numbers of an event's own (1)")
    add("--pool", metavar="N", type=whole_number(1, 1 << 20), help="of --cache collective: shared rows (256)")
    add_json(parser)
    given = parser.parse_args(arguments)
    if given.cache == "full" and (given.own, given.pool) != (None, None):
        raise UsageError("--own and --pool are of a collective cache: give --cache collective with them")

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
