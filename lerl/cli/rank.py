"""lerl rank: recommenders of the next item, judged by full ranking."""

from pathlib import Path
from typing import Any

from lerl.cli.parser import UsageError, say
from lerl.cli.recipe import split
from lerl.cli.where import SHIP, WHERE, pool_of, read_beside

RANK_HELP = """\
usage: lerl rank FOLDER|FILE [--rows LIST] [--seeds N] [--out FOLDER] [--plan]

Judge recommenders of the next item: each ranks all items for every user, and
is judged by the place that it gives to what the user chose next. popularity
and counts (what followed what) stand in every table. FOLDER is a prepared
folder, or holds sequences.parquet, a .inter file or bundle_item.parquet (sets
of items, of which one item is to be found by the others); FILE is Parquet, CSV
or .inter: user, item, and time or order. Give the same command again to go on
after an interruption.

  --rows [sasrec,hstu]    rows beside popularity and counts (sasrec): any of
                          sasrec, hstu, tiger, s2gr, tiger+tca, s2gr+tca,
                          mdgr, sasrec+items, sasrec+collective,
                          sasrec+lowrank, sasrec+own, together and jima-pairs
                          (for bundles), and controls such as tiger-random
  --controls              add the controls of these rows: what each claim of
                          theirs is judged beside
  --seeds N               fits of each row that draws at random (3)
  --out FOLDER            ranks, figures and report (runs/NAME-rank)
  --plan                  only print what is left to do, and hours
  --split last|time|last+validation
                          what is judged: each user's last item (last); the
                          first after 90 % of all choices (time); the last, but
                          validation items are learned from too. --split,
                          --items and columns are not for bundles
  --exclude-history       rank items of a user's history behind all others
  --epochs N              at most N epochs of each training
  --ROW.SETTING VALUE     such as --sasrec.dropout 0.3; see docs/how-to/rank.md
  --items FILE            titles and more, where they are not beside FILE
  --user, --item, --time, --order COLUMN     which column is what (guessed)
  --seed N                of the first training, of the order of ties, and of
                          which bundles are judged (0)
  --workers N             trainings side by side, in processes of their own
  --cluster ADDRESS       on a Dask cluster instead, such as tcp://host:8786
  --json                  print summary.json instead of tables

Example: lerl rank data/beauty --rows '[sasrec,hstu]' --seeds 3
"""

SWITCHES = ("plan", "json", "controls", "exclude-history", SHIP)
VALUES = ("rows", "seeds", "out", "split", "epochs", "items", "user", "item", "time", "order", "seed", *WHERE)
MOST_SEEDS, MOST_EPOCHS = 100, 10_000


def run_rank(arguments: list[str]) -> None:
    """lerl rank"""
    if {"-h", "--help"} & set(arguments):
        print(RANK_HELP, end="")
        return
    words, flags, switches = split(arguments, SWITCHES)
    if len(words) != 1:
        raise UsageError(f"give one folder or file, given {' and '.join(words) or 'none'}; see lerl rank --help")
    path, asked = Path(words[0]), _request(Path(words[0]), flags, switches)
    beside = read_beside({name: flags[name] for name in WHERE if name in flags}, switches)
    out = Path(flags.get("out") or f"runs/{path.stem}-rank")

    from lerl.experiment.rank.command import rank
    from lerl.experiment.rank.plan import estimate, plan_lines
    from lerl.experiment.rank.report import table
    from lerl.report.tables import show

    if "plan" in switches:
        print("\n".join(plan_lines(estimate(asked, out))))
        return

    try:
        with pool_of(beside) as pool:
            summary = rank(asked, out, say, pool)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command goes on") from None
    if "json" in switches:
        print((out / "summary.json").read_text(encoding="utf-8"), end="")
        return
    show(table(summary))
    print(f"written: {out / 'report.html'}, {out / 'report.md'}, {out / 'summary.json'} and {out / 'ranks.parquet'}")


def _request(path: Path, flags: dict[str, str | None], switches: set[str]) -> Any:
    """What is asked for, without reading data."""
    from lerl.envs.logs.sequences import Named
    from lerl.experiment.rank.request import LAST, SPLITS, Data, check_bundles, request

    own, given = dict[str, str](), dict[str, dict[str, str]]()
    for name, value in flags.items():
        row, dot, field = name.partition(".")
        if not dot and name not in VALUES:
            raise UsageError(f"unrecognized arguments: --{name}; see lerl rank --help")
        if value is None:
            raise UsageError(f"--{name} needs a value; see lerl rank --help")
        if dot:
            given.setdefault(row, {})[field] = value
        else:
            own[name] = value
    check_bundles(path, own)
    how = own.get("split", LAST)
    if how not in SPLITS:
        raise UsageError(f"--split must be one of {', '.join(SPLITS)}, given {how!r}")
    seed = _whole(own, "seed", 0, 0, 2**31)
    seeds = range(seed, seed + _whole(own, "seeds", 3, 1, MOST_SEEDS))
    named = Named(*(own.get(name) for name in Named._fields))
    items = Path(own["items"]) if "items" in own else None
    data = Data(path, items, named, how, "exclude-history" in switches, seed)
    names = [name.strip() for name in own.get("rows", "sasrec").strip("[]").split(",") if name.strip()]
    epochs = _whole(own, "epochs", 0, 1, MOST_EPOCHS) if "epochs" in own else None
    return request(data, names, seeds, given, epochs, "controls" in switches)


def _whole(given: dict[str, str], name: str, usual: int, least: int, most: int) -> int:
    """A whole number of a flag, or what is usual."""
    text = given.get(name)
    if text is None:
        return usual
    if not text.isdecimal() or not least <= int(text) <= most:
        raise UsageError(f"--{name} must be a whole number from {least} to {most:,}, given {text!r}")
    return int(text)
