"""The recipes that come with lerl, and recipe files of one's own."""

import re
from pathlib import Path

from lerl.config.errors import SettingsError


def recipe_folder() -> Path:
    """Where the recipes are that come with lerl: in lerl/recipes when installed, in runs/ in a checkout."""
    here = Path(__file__).resolve().parents[1]
    return here / "recipes" if (here / "recipes").is_dir() else here.parent / "runs"


def recipes(holding: str = "") -> list[str]:
    """Names of the recipes that come with lerl, where `holding` names a section ("tune", say) of those that hold it."""
    start = re.compile(rf"^{holding}:", re.MULTILINE)
    paths = recipe_folder().glob("*.yaml")
    return sorted(path.stem for path in paths if not holding or start.search(path.read_text(encoding="utf-8")))


def summary(name: str) -> str:
    """What a recipe that comes with lerl is for: the first line of its file, a comment."""
    with find_recipe(name).open(encoding="utf-8") as file:
        return file.readline().lstrip("# ").strip()


def find_recipe(name: str, holding: str = "") -> Path:
    """The file of a recipe, given as the name of one that comes with lerl or as a path that ends in .yaml.

    Args:
        name: or path. holding: a section that the recipes hold which the error lists.

    Raises:
        SettingsError: there is no such recipe; the message lists those there are.
    """
    path = Path(name) if Path(name).suffix in (".yaml", ".yml") else recipe_folder() / f"{name}.yaml"
    if path.is_file():
        return path
    if path.parent != recipe_folder():
        raise SettingsError(f"there is no recipe file {name}")

    from lerl.envs.checks import did_you_mean  # which imports what takes longer than all else that help needs

    raise SettingsError(
        f"there is no recipe {name!r}.{did_you_mean(name, recipes(holding))} There are: "
        f"{', '.join(recipes(holding)) or 'none'}. Give a recipe of your own as a path that ends in .yaml."
    )
