"""lerl export."""

import sys
from pathlib import Path

from lerl.cli.parser import Parser, UsageError, add_trust, whole_number

DESCRIPTION = (
    "Play sessions of a run's saved agents anew, and write what they saw, chose and earned: as a Minari data set, "
    "whose environment comes back with recover_environment(), or as Parquet tables. Hidden state is not in it. Minari "
    "keeps data sets in MINARI_DATASETS_PATH, or in ~/.minari/datasets."
)


def run_export(arguments: list[str]) -> None:
    """lerl export"""
    parser = Parser("lerl export", description=DESCRIPTION, allow_abbrev=False)
    add = parser.add_argument
    add("run", metavar="RUN", type=Path, help="a folder that lerl train wrote")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--minari", metavar="NAME", help="a data set to make, such as quickstart-v0")
    where.add_argument("--parquet", metavar="FOLDER", type=Path, help="a new folder for tables")
    add("--agents", metavar="A,B", help="which agents, as the table calls them (all)")
    add("--split", choices=("train", "evaluation"), default="train", help="whose users: train or evaluation (train)")
    add("--sessions", metavar="N", type=whole_number(1, 10_000_000), default=1000, help="of each agent (1000)")
    add("--seed", metavar="S", type=whole_number(0, 2**32 - 1), help="of users and of their draws (the run's)")
    add_trust(parser)
    given = parser.parse_args(arguments)
    names = None if given.agents is None else [name.strip() for name in given.agents.strip("[]").split(",")]
    if names is not None and not all(names):
        raise UsageError(
            f"--agents takes names with commas between them, such as flat+ppo,random, given {given.agents!r}"
        )

    from lerl.run.export import unrecoverable
    from lerl.serve.run import Run

    run = Run(given.run, given.trust)
    path = run.export(
        minari=given.minari,
        parquet=given.parquet,
        agents=names,
        split=given.split,
        sessions=given.sessions,
        seed=given.seed,
    )
    if why := unrecoverable(run.config):
        print(f"lerl: note: recover_environment() will not work, since {why}", file=sys.stderr)
    print(f"written: {path}")
    if given.minari is not None:
        print(f"read it in Python: minari.load_dataset({given.minari!r})")
