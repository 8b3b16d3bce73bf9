"""What a run folder is allowed to do on this machine: it may come from a stranger, and its config.yaml may name code.

A run of one's own is known by a signature that only this user's key makes; the key lies outside of all runs. Whatever
else a run wants, code that is not installed, an endpoint for the key, a file of its own choice, has to be allowed.
"""

import hashlib
import hmac
import ipaddress
import json
import os
import secrets
import site
import stat
import sys
import sysconfig
import warnings
from contextlib import suppress
from pathlib import Path
from shlex import quote
from urllib.parse import urlsplit

import lerl
from lerl import agents, envs, planners
from lerl.config.parse import load
from lerl.config.schema import Config
from lerl.envs.files import refuse_links, write_whole
from lerl.files import RunError
from lerl.planners.llm.chat import secrets as keys
from lerl.run.code import classes, places
from lerl.run.folder import SIGNATURE
from lerl.startup import state_folder

KEY_BYTES = 32


class UntrustedError(RunError):
    """A run that wants what nobody on this machine allowed; the message says what, and how to allow it."""


def read_config(run: Path, trust: bool, query_model: bool = True) -> Config:
    """The configuration of a run, once it is known that this user wants what it says.

    Args:
        run: its folder. trust: whether the user allows it, which is remembered by a signature. query_model:
            whether the run's chat model may be queried.

    Raises:
        UntrustedError: it names code, an endpoint or a cache that this user did not choose.
        SettingsError: it cannot be read.
    """
    refuse_links(run)
    config = load(run / "config.yaml")
    check_trust(run, config, trust, query_model)
    return config


def check_recipe(recipe: Path, trust: bool) -> None:
    """The same for a recipe that is the config.yaml of a run; any other recipe is the user's own word."""
    if recipe.name == "config.yaml" and (recipe.parent / "run.json").is_file():
        read_config(recipe.parent, trust)


def check_trust(run: Path, config: Config, trust: bool, query_model: bool = True) -> None:
    """Refuse what a run wants and this user did not choose; see `read_config`."""
    code, paths = _code(run, config), _files(run, config)
    address = _address(config) if query_model else ""
    if not (code or paths or address) or _signed(run, config):
        return
    if trust or (not code and not paths and _answered_yes(run, address)):
        sign(run, config, (run / "config.yaml").read_text(encoding="utf-8"))
        return
    sends = [f"planner.base_url sends its prompts, with your API key if there is one, to {address}"] if address else []
    what = code + paths + sends
    raise UntrustedError(
        f"{run} was not made here by you, or was changed since, and {'; '.join(what)}; look at its config.yaml, and "
        "give the command again with --trust to allow this"
    )


def sign(run: Path, config: Config, text: str) -> None:
    """Let a run go on on this machine without a question, as long as its config.yaml stays and its modules stay where
    they are; nothing is written for a run that wants nothing.

    Args:
        run: its folder. config: its configuration. text: what its config.yaml holds, or will hold.
    """
    if not (_code(run, config) or _files(run, config) or config.planner.base_url):
        return
    try:
        write_whole(run / SIGNATURE, _signature(_key(make=True), config, text.encode()) + "\n")
    except OSError as error:
        warnings.warn(f"{run} could not be signed as your own ({error}); it will need --trust", stacklevel=2)


def seal(*words: str) -> str:
    """What only this user's key makes of some words: by it lerl knows again, in a file of a run, what it wrote there.

    Raises:
        OSError: there is no key and none can be made.
    """
    sealed = json.dumps(["lerl seal", *words]).encode("utf-8", "surrogateescape")
    return hmac.new(_key(make=True), sealed, hashlib.sha256).hexdigest()


def _signed(run: Path, config: Config) -> bool:
    """Whether this user's key signed the run; a module inside of it could have come with it, and never counts."""
    folder = run.resolve()
    if any(_inside(place, folder) for _, name in classes(config) for place in places(name)):
        return False
    with suppress(OSError, ValueError):
        given = (run / SIGNATURE).read_text(encoding="ascii").strip()
        content = (run / "config.yaml").read_bytes()
        return hmac.compare_digest(given, _signature(_key(make=False), config, content))
    return False


def _signature(key: bytes, config: Config, content: bytes) -> str:
    """Of all that a run's config.yaml says, and of where the modules lie that it names."""
    named = [[name, *map(str, places(name))] for _, name in classes(config)]
    signed = json.dumps(["lerl run", hashlib.sha256(content).hexdigest(), named])
    return hmac.new(key, signed.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()


def _key(make: bool) -> bytes:
    """This user's key, in a file that nobody else can read.

    Raises:
        OSError: there is none and none can be made, or others can read or write it.
    """
    path = state_folder() / "key"
    if make and not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_name(f".key.{secrets.token_hex(8)}")
        file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(file, "wb") as stream:
                stream.write(secrets.token_bytes(KEY_BYTES))
            with suppress(FileExistsError):  # of a process that was as quick
                os.link(fresh, path)
        finally:
            fresh.unlink()
    about = path.lstat()
    own = not hasattr(os, "getuid") or (about.st_uid == os.getuid() and not about.st_mode & 0o077)
    key = path.read_bytes() if own and stat.S_ISREG(about.st_mode) else b""
    if len(key) != KEY_BYTES:
        raise PermissionError(f"{path} is no key that only you can read; remove it, then a new one is made")
    return key


def _code(run: Path, config: Config) -> list[str]:
    """Classes that are neither lerl's nor installed outside of the run and of the working directory, in words."""
    found = []
    for key, name in classes(config):
        files = places(name)
        if not files or not all(_installed(place, run) for place in files):
            where = f" in {files[-1]}" if files else ", and is not found from this folder"
            found.append(f"{key} names code that is not installed, {name!r}{where}")
    return found


def _installed(place: Path, run: Path) -> bool:
    if any(_inside(place, home) for home in _homes()):
        return not _inside(place, run.resolve())
    return not any(_inside(place, folder) for folder in (run.resolve(), Path.cwd().resolve()))


def _homes() -> list[Path]:
    """Where lerl, Python and what is installed for it lie, whatever folder that is in."""
    own = [package.__path__[0] for package in (lerl, agents, envs, planners)]
    of_python = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return [
        Path(folder).resolve() for folder in (*own, *of_python, *site.getsitepackages(), site.getusersitepackages())
    ]


def _inside(place: Path, folder: Path) -> bool:
    """Whether a file lies in a folder, by its name or in truth."""
    return place.is_relative_to(folder) or place.resolve().is_relative_to(folder)


def _files(run: Path, config: Config) -> list[str]:
    """Files outside of the run that it would write, in words."""
    cache = config.planner.cache
    if cache is None or not _queries_model(config) or Path(cache).resolve().is_relative_to(run.resolve()):
        return []
    return [f"planner.cache writes answers to {cache}"]


def _queries_model(config: Config) -> bool:
    """Whether some agent may query a chat model."""
    heads = {name.partition("+")[0] for name in config.agents}
    named = {config.planner.name if head == "planner" else head for head in heads}
    teaches = "distilled" in named and config.planner.refresh > 0
    return not config.planner.replay and ("llm" in named or teaches)


def _address(config: Config) -> str:
    """The address that a run's chat model would be queried at, where neither lerl nor the environment knows it."""
    address, provider = config.planner.base_url, str(config.planner.model).partition(":")[0]
    if address is None or not _queries_model(config):
        return ""
    names = [f"{provider.upper()}_{end}" for end in ("BASE_URL", "API_BASE", "ENDPOINT", "HOST")]
    if address.rstrip("/") in {os.environ.get(name, "").rstrip("/") for name in names}:
        return ""
    return "" if _on_this_machine(address) and not keys() else address


def _on_this_machine(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _answered_yes(run: Path, address: str) -> bool:
    """Ask on a terminal whether a run's questions may go to an address; without a terminal nobody says yes."""
    if not (address and sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(
        f"lerl: {quote(str(run))} sends the prompts of its chat model, with your API key if there is one, to "
        f"{address}; allow this? [y/N] ",
        end="",
        file=sys.stderr,
        flush=True,
    )
    return sys.stdin.readline().strip().lower() in ("y", "yes")
