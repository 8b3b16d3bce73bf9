"""lerl fit and fidelity"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lerl.cli.parser import (
    Parser,
    whole_number,
)

if TYPE_CHECKING:
    pass


FIDELITY_HELP = (
    "Fit what was shown and how people react on a log's training users, simulate its held-out users, whose tastes come "
    "from their first halves, and compare their second halves with the simulated ones: statistics with 95 % intervals "
    "over users, and a classifier that tries to tell the two apart. No sequence of the log is replayed. Takes some "
    "minutes."
)


FIT_HELP = (
    "Fit users to the log of a prepared folder and say how well they predict what held-out users did: over all their "
    "events, the last 15 % of each one's, and items that no training user met, beside a strong baseline (running mean "
    "of the user and mean of the item) and gradient boosting. sequence trains a causal Transformer over items and "
    "feedback and writes it to FOLDER/response.npz, for --env.response sequence; latent judges the latent-factor model "
    "that FOLDER was prepared with. The log must have times. Interrupted, the same command goes on."
)


def run_fidelity(arguments: list[str]) -> None:
    parser = Parser("lerl fidelity", description=FIDELITY_HELP, allow_abbrev=False)
    add = parser.add_argument
    add("folder", metavar="FOLDER", type=Path, help="a folder that lerl data import or prepare wrote")
    add("--topics", choices=("categories", "hidden"), default="categories", help="what bores people (categories)")
    most = whole_number(2, 1_000_000)
    add("--users", metavar="N", type=most, default=1000, help="most held-out users to compare (1000)")
    add("--seed", metavar="N", type=whole_number(0, 2**32 - 1), default=0, help="of all draws (0)")
    add("--out", metavar="FOLDER", type=Path, help="where fidelity.json and the pictures go (the folder itself)")
    add("--json", action="store_true", help="print it for programs")
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
    print(f"written: {out / 'fidelity.json'} and {picture}, as .svg besides")


def run_fit(arguments: list[str]) -> None:
    parser = Parser("lerl fit", description=FIT_HELP, allow_abbrev=False)
    add = parser.add_argument
    add("folder", metavar="FOLDER", type=Path, help="a folder that lerl data import or prepare wrote")
    add("--model", required=True, choices=("latent", "sequence"), help="what to fit")
    add("--seed", metavar="N", type=whole_number(0, 2**32 - 1), default=0, help="of the training (0)")
    add("--epochs", metavar="N", type=whole_number(1, 1000), help="at most so many passes over the log")
    add("--dynamics", action="store_true", help="fit how people tire, drift and differ, for data.users fitted; minutes")
    add("--json", action="store_true", help="print it for programs")
    given = parser.parse_args(arguments)

    from lerl.report.tables import show
    from lerl.run.progress import Progress
    from lerl.users.evaluate import table
    from lerl.users.fit import fit_users

    try:
        with Progress() as progress:
            found = fit_users(
                given.folder,
                given.model,
                seed=given.seed,
                epochs=given.epochs,
                dynamics=given.dynamics,
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
