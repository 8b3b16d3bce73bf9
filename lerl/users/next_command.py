"""The command that trains on a prepared folder, to print where it was made."""

from pathlib import Path
from shlex import quote

LOGS = "logs"  # the recipe for any prepared folder


def train_command(folder: Path, items: int, directions: int, recipe: str = LOGS) -> str:
    """A command that a shell takes as it is; where there are fewer items than the recipes on logs need, it says so.

    Args:
        folder: the prepared folder.
        items: how many there are.
        directions: how many different directions item vectors have, of which clusters are made.
        recipe: to train.
    """
    most = min(items // 4, directions // 2)
    needed = {"planner.clusters": (80, most), "env.topic_count": (20, most), "env.slate_size": (6, items)}
    fewer = "".join(f" --{key} {max(1, few)}" for key, (usual, few) in needed.items() if few < usual)
    return f"lerl train {recipe} --data.path {quote(str(folder))}{fewer}"
