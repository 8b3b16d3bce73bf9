"""Find out whether a recommender keeps people satisfied over a whole session, and train one that does.

Importing lerl registers its Gymnasium environments, once Gymnasium itself is imported, before or after.
"""

from lerl.startup import keep_compiled, when_imported

__version__: str

ENVIRONMENTS = {
    "Synthetic": "synthetic",
    "MovieLens": "movielens",
    "Goodbooks": "goodbooks",
    "KuaiRand": "kuairand",
    "KuaiRec": "kuairec",
    "Logs": "own logs",
}
"""The data that the users of lerl/NAME-v0 come from."""


def _register() -> None:
    from gymnasium.envs.registration import register, registry

    for name, data in ENVIRONMENTS.items():
        if f"lerl/{name}-v0" not in registry:
            register(
                id=f"lerl/{name}-v0",
                entry_point="lerl.envs.registration:make",
                vector_entry_point="lerl.envs.registration:make_vec",
                kwargs={"data": data},
            )


def __getattr__(name: str) -> str:
    if name != "__version__":
        raise AttributeError(f"module 'lerl' has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("lerl-rec")
    except PackageNotFoundError:  # a checkout that was not installed
        return "0.0.0"


keep_compiled()
when_imported("gymnasium", _register)  # which takes longer to import than most commands need for all they do
