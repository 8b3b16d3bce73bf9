"""Find out whether a recommender keeps people satisfied over a whole session, and train one that does.

Importing lerl registers its Gymnasium environments and needs neither PyTorch nor an LLM library.
"""

from importlib.metadata import PackageNotFoundError, version

from lerl.startup import keep_compiled

keep_compiled()

from gymnasium.envs.registration import register, registry  # noqa: E402

try:
    __version__ = version("lerl-rec")
except PackageNotFoundError:  # a checkout that was not installed
    __version__ = "0.0.0"

ENVIRONMENTS = {
    "Synthetic": "synthetic",
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

API = ("Evaluation", "Run", "configure", "evaluate", "load_population", "train")
"""What `lerl.api` holds for users, as `lerl.NAME`; imported when it is first used."""


def __getattr__(name: str) -> object:
    if name in API:
        from lerl import api

        return getattr(api, name)
    raise AttributeError(f"module 'lerl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *API])
