"""Train on a log of your own: write a small CSV log, import it, fit how its users react, train for a moment.

Run it:  python examples/own_log.py
It works in a folder of its own and prints where that is. With your own files the commands are the same.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from lerl.cli.main import main

USERS, ITEMS, CATEGORIES, EACH = 120, 60, 6, 30


def write_log(folder: Path) -> None:
    """A log of users who click what is in categories that they like: log.csv and items.csv."""
    draw = np.random.default_rng(0)
    category = draw.integers(0, CATEGORIES, ITEMS)
    taste = draw.normal(0, 1.5, (USERS, CATEGORIES))
    user = np.repeat(np.arange(USERS), EACH)
    item = np.concatenate([draw.choice(ITEMS, EACH, replace=False) for _ in range(USERS)])
    click = draw.random(len(user)) < 1 / (1 + np.exp(-taste[user, category[item]]))
    time = 1_700_000_000 + np.tile(np.arange(EACH) * 60, USERS)
    log = {"user_id": user, "item_id": item, "click": click.astype(int), "timestamp": time}
    pl.DataFrame(log).write_csv(folder / "log.csv")
    names = [f"category {number}" for number in category]
    pl.DataFrame({"item_id": np.arange(ITEMS), "category": names}).write_csv(folder / "items.csv")


def lerl(*words: str) -> None:
    """One command, as it is typed in a shell."""
    print("\n$ lerl", *words, flush=True)
    code = main(list(words))
    if code:
        sys.exit(code)


if __name__ == "__main__":
    folder = Path(tempfile.mkdtemp(prefix="lerl-own-log-"))
    write_log(folder)
    mine = str(folder / "mine")
    lerl(
        "data", "import", "--interactions", str(folder / "log.csv"), "--items", str(folder / "items.csv"), "--out", mine
    )
    lerl("fit", mine, "--model", "latent", "--dynamics")
    short = ["--train.steps", "2000", "--train.users", "32", "--train.validation", "20", "--train.evaluations", "1"]
    few = ["--planner.axis", "categories", "--planner.size", "2", "--env.topics", "categories", "--env.slate_size", "3"]
    lerl(
        "train", "logs", "--data.path", mine, "--out", str(folder / "run"), *few, *short,
        "--agents", "[boredom+ppo,flat+ppo,random,popularity]", "--env.max_steps", "10",
    )  # fmt: skip
    print("everything is in", folder)
