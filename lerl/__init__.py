"""Find out whether a recommender keeps people satisfied over a whole session, and train one that does.

Importing lerl registers its Gymnasium environments and needs neither torch nor an LLM library.
"""

from importlib.metadata import PackageNotFoundError, version

from lerl.startup import keep_compiled

keep_compiled()

from gymnasium.envs.registration import register, registry  # noqa: E402

try:
    __version__ = version("lerl-rec")
except PackageNotFoundError:  # a checkout that was not installed
    __version__ = "0.0.0"

for _name in ("Synthetic", "MovieLens", "Goodbooks", "KuaiRand", "KuaiRec", "Logs"):
    if f"lerl/{_name}-v0" not in registry:
        register(
            id=f"lerl/{_name}-v0",
            entry_point=f"lerl.envs.session:make_{_name.lower()}",
            vector_entry_point=f"lerl.envs.session:make_{_name.lower()}_vec",
        )
