"""Find out whether a recommender keeps people satisfied over a whole session, and train one that does.

Importing lerl registers its Gymnasium environments and needs neither PyTorch nor an LLM library.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from lerl.startup import keep_compiled

keep_compiled()

from gymnasium.envs.registration import register, registry  # noqa: E402

try:
    __version__ = version("lerl-rec")
except PackageNotFoundError:  # a checkout that was not installed
    __version__ = "0.0.0"

ENVIRONMENTS = {
    "Synthetic": "synthetic",
    "Composite": "composite",
    "MovieLens": "movielens",
    "Goodbooks": "goodbooks",
    "KuaiRand": "kuairand",
    "KuaiRec": "kuairec",
    "Logs": "own logs",
}
"""The data that the users of lerl/NAME-v0 come from."""

for _name, _data in ENVIRONMENTS.items():
    if f"lerl/{_name}-v0" not in registry:
        register(
            id=f"lerl/{_name}-v0",
            entry_point="lerl.envs.registration:make",
            vector_entry_point="lerl.envs.registration:make_vec",
            kwargs={"data": _data},
        )

API = {
    "Comparison": "lerl.serve.comparison",
    "Evaluation": "lerl.serve.evaluation",
    "Run": "lerl.serve.run",
    "compare": "lerl.serve.comparison",
    "configure": "lerl.serve.settings",
    "evaluate": "lerl.serve.own_agent",
    "load_population": "lerl.serve.settings",
    "train": "lerl.serve.run",
}
"""What is there as `lerl.NAME`, and the module that it is imported from when it is first used."""

if TYPE_CHECKING:
    from lerl.serve.comparison import Comparison as Comparison
    from lerl.serve.comparison import compare as compare
    from lerl.serve.evaluation import Evaluation as Evaluation
    from lerl.serve.own_agent import evaluate as evaluate
    from lerl.serve.run import Run as Run
    from lerl.serve.run import train as train
    from lerl.serve.settings import configure as configure
    from lerl.serve.settings import load_population as load_population


def __getattr__(name: str) -> object:
    if name in API:
        return getattr(import_module(API[name]), name)
    raise AttributeError(f"module 'lerl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *API])
