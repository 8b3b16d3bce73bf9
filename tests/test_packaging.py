from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("envs", "planners", "agents", "lerl")
"""Each may import itself and those before it."""


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


def _imported_layers(source: str) -> set[str]:
    """The layers that a module's imports name."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {_layer(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {_layer(f"{node.module}.{alias.name}") for alias in node.names}
    return found & set(LAYERS)


def _layer(name: str) -> str:
    package, _, rest = name.partition(".")
    inner = rest.partition(".")[0]
    return inner if package == "lerl" and inner in LAYERS else package


def _modules(layer: str) -> Iterator[Path]:
    return (path for path in (ROOT / layer).rglob("*.py") if "__pycache__" not in path.parts)


@pytest.mark.parametrize(
    ("source", "layers"),
    [
        ("import lerl.envs.draws", {"envs"}),
        ("from lerl.agents import base", {"agents"}),
        ("from lerl import planners, metrics", {"planners", "lerl"}),
        ("def f():\n    from lerl.agents.base import Agent", {"agents"}),
        ("import numpy, agents", {"agents"}),
    ],
)
def test_the_import_rule_sees_every_way_to_import(source: str, layers: set[str]) -> None:
    assert _imported_layers(source) == layers


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_point_one_way(layer: str) -> None:
    later = set(LAYERS[LAYERS.index(layer) + 1 :])
    wrong = {
        str(path.relative_to(ROOT)): sorted(found)
        for path in _modules(layer)
        if (found := _imported_layers(path.read_text(encoding="utf-8")) & later)
    }
    assert wrong == {}


def _packages() -> dict[str, Path]:
    """The folder of each package that pyproject.toml lists; what lies in a mapped folder moves with it."""
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    mapped = setuptools["package-dir"]
    found = {}
    for name in setuptools["packages"]:
        layer = ".".join(name.split(".")[:2])
        found[name] = Path(mapped.get(layer, layer.replace(".", "/")), *name.split(".")[2:])
    return found


def _code() -> set[Path]:
    """Every module of the library, as a path in the checkout; folders that are not the library's hold none."""
    ignored = {"tests", "docs", "examples", "build", "dist"}
    found = set()
    for folder, inner, files in os.walk(ROOT):
        here = Path(folder).relative_to(ROOT)
        inner[:] = [name for name in inner if not name.startswith((".", "__")) and str(here / name) not in ignored]
        found |= {here / name for name in files if name.endswith(".py")}
    return found


def test_every_folder_with_code_is_a_package() -> None:
    packages = _packages()
    assert packages.pop("lerl.recipes") == Path("runs")
    assert {path.parent for path in _code()} == set(packages.values())


def test_a_wheel_from_a_clean_tree_holds_all_code_and_recipes_once(tmp_path: Path) -> None:
    clean = tmp_path / "clean"
    for layer in LAYERS:
        shutil.copytree(ROOT / layer, clean / layer, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    (clean / "runs" / "quickstart-seed0").mkdir(parents=True)
    (clean / "runs" / "quickstart-seed0" / "config.yaml").write_text("seed: 0\n")
    for file in (*ROOT.glob("runs/*.yaml"), *(ROOT / name for name in ("pyproject.toml", "README.md", "LICENSE"))):
        shutil.copy(file, clean / file.relative_to(ROOT))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(clean)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    held = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    assert sorted(held) == sorted(_expected())


def _expected() -> Iterator[str]:
    yield "lerl/py.typed"
    for path in (ROOT / "planners" / "llm" / "prompts").glob("*.txt"):
        yield f"lerl/planners/llm/prompts/{path.name}"
    yield "lerl/llm/audit/cues.yaml"
    for path in (ROOT / "lerl" / "llm" / "audit" / "wordings").glob("*.txt"):
        yield f"lerl/llm/audit/wordings/{path.name}"
    for name in ("base", "page", "experiment", "audit", "audit_probing", "loop", "rank", "table"):
        yield f"lerl/report/page/{name}.html"
    for name in ("page.css", "page.js"):
        yield f"lerl/report/page/{name}"
    for package, folder in _packages().items():
        pattern = "*.yaml" if package == "lerl.recipes" else "*.py"
        for path in (ROOT / folder).glob(pattern):
            yield f"{package.replace('.', '/')}/{path.name}"


@pytest.mark.parametrize("name", ["agents", "envs", "planners"])
def test_a_bare_import_is_refused_with_the_right_name(name: str) -> None:
    ran = _python(f"import {name}")
    assert ran.returncode == 1
    assert f"ImportError: import this package as lerl.{name}, not as {name}" in ran.stderr


KNOWN = ("Composite", "Goodbooks", "KuaiRand", "KuaiRec", "Logs", "MovieLens", "Synthetic")


def test_importing_lerl_registers_environments_without_torch_or_langchain() -> None:
    heavy = {"torch", "stable_baselines3", "langchain", "langchain_core", "openai", "numba", "matplotlib"}
    ran = _python(
        "import sys, gymnasium, lerl; "
        "print(sorted(name for name in gymnasium.registry if name.startswith('lerl/'))); "
        f"print(sorted({heavy!r} & set(sys.modules)))"
    )
    names = [f"lerl/{name}-v0" for name in KNOWN]
    assert ran.stdout.splitlines() == [repr(names), "[]"], ran.stderr


def test_importing_lerl_leaves_ctrl_c_alone_whatever_the_program_is_called() -> None:
    ran = _python(
        "import signal, sys; sys.argv = ['lerl']; before = signal.getsignal(signal.SIGINT)\n"
        "import lerl, lerl.envs.session; print(signal.getsignal(signal.SIGINT) is before)"
    )
    assert ran.stdout == "True\n", ran.stderr


def test_an_id_that_names_the_module_needs_no_import_of_lerl_in_a_notebooks_children_either() -> None:
    """Code given by -c has no file, as a notebook has none: children that are no forks import nothing from it.

    Gymnasium has had no plugins since 1.0; what it has is the name of a module in front of the id.
    """
    ran = _python(
        "import functools, gymnasium\n"
        "from gymnasium.vector import AsyncVectorEnv\n"
        "made = functools.partial(gymnasium.make, 'lerl:lerl/Synthetic-v0', users=8, items=30, categories=2)\n"
        "if __name__ == '__main__':\n"
        "    env = AsyncVectorEnv([made], context='forkserver')\n"
        "    print(env.reset()[1]['action_mask'].sum())\n"
        "    env.close()"
    )
    assert ran.stdout == "30\n", ran.stderr


def test_an_environment_runs_without_torch_or_langchain() -> None:
    ran = _python(
        "import sys, gymnasium, lerl; env = gymnasium.make('lerl/Synthetic-v0'); env.reset(seed=0); "
        "env.step(env.action_space.sample()); "
        "print(sorted({'torch', 'stable_baselines3', 'langchain_core', 'openai'} & set(sys.modules)))"
    )
    assert ran.stdout == "[]\n", ran.stderr


def test_help_is_quick() -> None:
    """The aim is half a second; the bound leaves room for a busy machine."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "lerl", "--help"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    print(f"lerl --help: {min(times):.2f} s")
    assert min(times) < 1.5


def _imports() -> dict[str, set[str]]:
    """The modules of lerl that each of its modules imports, wherever in the file."""
    files = {".".join(path.with_suffix("").parts): ROOT / path for path in _code()}
    files = {name if name.startswith("lerl.") else f"lerl.{name}": path for name, path in files.items()}
    found = {}
    for module, path in files.items():
        named = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                named |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            elif isinstance(node, ast.Import):
                named |= {alias.name for alias in node.names}
        found[module] = named & set(files)
    return found


def test_no_two_files_import_each_other() -> None:
    imports = _imports()
    assert [(one, other) for one in imports for other in imports[one] if one < other and one in imports[other]] == []


def test_no_room_of_lerl_imports_one_that_imports_it() -> None:
    """Rooms stand on floors: whoever reads one never has to come back to it."""
    rooms: dict[str, set[str]] = {}
    for module, imported in _imports().items():
        room = module.split(".")[1]
        if module.count(".") > 1 and room not in LAYERS:
            others = {name.split(".")[1] for name in imported if name.count(".") > 1}
            rooms.setdefault(room, set()).update(others - {room, *LAYERS})
    floors: list[set[str]] = []
    while rooms:
        floors.append({room for room, others in rooms.items() if not others & set(rooms)})
        assert floors[-1], f"these import each other in a circle: {rooms}"
        rooms = {room: others for room, others in rooms.items() if room not in floors[-1]}
    print(floors)


def test_lerl_itself_holds_rooms_and_four_files() -> None:
    assert {path.name for path in (ROOT / "lerl").glob("*.py")} == {
        "__init__.py",
        "__main__.py",
        "startup.py",
        "files.py",
    }
    assert sum(name.count(".") == 1 for name in _packages()) <= 15
