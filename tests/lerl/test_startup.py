"""Where compiled code is kept, when environments are registered, and what is said where a package is missing."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from lerl import startup
from lerl.cli.main import main


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which nothing but the fixture's folder can be written."""
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(startup, "_writable", lambda folder: False)
    return tmp_path


def test_code_is_kept_beside_the_package_where_that_can_be_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "_writable", lambda folder: True)
    startup.keep_compiled()
    assert "NUMBA_CACHE_DIR" not in os.environ


def test_otherwise_in_the_users_cache_and_what_was_set_stays(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    startup.keep_compiled()
    kept = Path(os.environ["NUMBA_CACHE_DIR"])
    assert kept == home / "home" / "cache" / "lerl"
    assert kept.stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("NUMBA_CACHE_DIR", "elsewhere")
    startup.keep_compiled()
    assert os.environ["NUMBA_CACHE_DIR"] == "elsewhere"


def test_without_a_home_in_a_temporary_folder_that_nobody_else_can_fill(home: Path) -> None:
    (home / "home").write_text("no folder")
    startup.keep_compiled()
    mine = home / f"lerl-{os.getuid()}"
    assert os.environ.pop("NUMBA_CACHE_DIR") == str(mine)
    mine.chmod(0o777)
    startup.keep_compiled()
    assert os.environ["NUMBA_CACHE_DIR"] != str(mine)
    assert Path(os.environ["NUMBA_CACHE_DIR"]).stat().st_mode & 0o777 == 0o700


def run_python(code: str) -> str:
    """What a fresh interpreter prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_the_command_line_imports_nothing_large() -> None:
    heavy = "('numba', 'torch', 'polars', 'pydantic', 'matplotlib')"
    assert run_python(f"import lerl.cli.main, sys; print(*(name for name in {heavy} if name in sys.modules))") == ""


@pytest.mark.parametrize(
    ("module", "hint"),
    [
        ("torch", "this needs torch; install it with: pip install 'lerl-rec[train]'"),
        ("scipy.stats", "this needs scipy; install it with: pip install 'lerl-rec[train]'"),
        ("matplotlib", "this needs matplotlib; install it with: pip install 'lerl-rec[plot]'"),
        ("langchain_core", "this needs langchain; install it with: pip install 'lerl-rec[llm]'"),
        ("mlflow", "this needs mlflow; install it with: pip install 'lerl-rec[track]'"),
        ("minari", "this needs minari; install it with: pip install 'lerl-rec[offline]'"),
        ("my_package", ""),
        ("lerl.nothing", ""),
    ],
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(module: str, hint: str) -> None:
    assert startup.install_hint(module) == hint


def test_a_command_without_its_packages_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "yaml", None)  # as if it were not installed
    for name in ("lerl.config.parse", "lerl.config.yaml_file"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert main(["train", "quickstart"]) == 2
    said = capsys.readouterr().err
    assert said == "lerl: error: this needs pyyaml; install it with: pip install 'lerl-rec[train]'\n"


def test_an_import_without_its_packages_says_what_to_install() -> None:
    code = """
import sys
sys.modules["torch"] = None
import lerl
try:
    from lerl.run.train import train
except ImportError as error:
    print(type(error).__name__, error)
"""
    expected = "MissingExtraError this needs torch; install it with: pip install 'lerl-rec[train]'"
    assert run_python(code) == expected


def test_extras_name_packages_that_are_installed_with_them() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for extra, packages in startup.EXTRAS.items():
        installed = " ".join([*project["dependencies"], *project["optional-dependencies"].get(extra, [])])
        assert [package for package in packages.values() if f"{package}>=" not in installed] == []
