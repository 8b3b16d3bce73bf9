"""Trackers: what a run hands to them, that none of them can lose a run, and that a resumed run goes on in its own."""

import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import lerl
from lerl.cli.main import main
from lerl.envs.plugins import PluginError
from lerl.run.track import KEPT, Tracker, metric_name, open_tracker, table_values
from lerl.startup import MissingExtraError

WORLD: dict[str, Any] = {
    "data": {"synthetic": {"users": 80, "items": 60, "categories": 5, "dim": 4}},
    "env": {"max_steps": 12, "slate_size": 3},
    "train": {"steps": 300, "users": 16, "evaluations": 2, "validation": 20, "hidden": 8},
    "planner": {"clusters": 5},
    "evaluation": {"users": 15, "bootstrap": 100},
    "agents": ["flat+ppo", "random"],
}

OWN = """
class Notes:
    made = []

    def __init__(self):
        self.calls = []
        Notes.made.append(self)

    def begin(self, config, folder):
        self.id = "one"
        self.calls.append(("begin", config, folder))

    def curve(self, agent, step, values):
        self.calls.append(("curve", agent, step, values))

    def end(self, summary, files):
        self.calls.append(("end", summary, files))
"""


class Kept(Tracker):
    """Keeps what it is told."""

    def __init__(self, fails: str = "", made: str | None = None) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.before: str | None = None
        self.fails, self.made = fails, made

    def begin(self, config: Any, folder: Path) -> None:
        self.before = self.id
        self.id = self.made or self.id
        self._note("begin", config, folder)

    def curve(self, agent: str, step: int, values: Any) -> None:
        self._note("curve", agent, step, values)

    def end(self, summary: Any, files: Any) -> None:
        self._note("end", summary, files)

    def broken_off(self) -> None:
        self._note("broken_off")

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [call for call in self.calls if call[0] == name]

    def _note(self, *call: Any) -> None:
        self.calls.append(call)
        if call[0] == self.fails:
            raise ConnectionError("the tracker's server\nis gone")


@pytest.fixture(autouse=True)
def aside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A key, a working folder and trackers' stores of the test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    for name in ("WANDB_API_KEY", "WANDB_PROJECT", "WANDB_NAME", "WANDB_RUN_ID", "WANDB_DIR", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> lerl.Run:
    """The run without a tracker."""
    return lerl.train("quickstart", tmp_path_factory.mktemp("plain") / "run", **WORLD)


def curves(run: lerl.Run) -> list[tuple[str, int, float]]:
    frame: pl.DataFrame = run.curves
    return list(frame.select("agent", "steps", "R_cum").iter_rows())


def interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


def break_off(monkeypatch: pytest.MonkeyPatch, out: Path, track: Any, **world: Any) -> None:
    """A run that is interrupted before its evaluation."""
    with monkeypatch.context() as patched:
        patched.setattr("lerl.run.train.judge", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lerl.train("quickstart", out, track=track, **world)


def test_a_tracker_is_told_the_settings_all_curves_and_the_table(plain: lerl.Run, tmp_path: Path) -> None:
    tracker = Kept()
    run = lerl.train("quickstart", tmp_path / "run", track=tracker, **WORLD)
    (_, config, folder), *points, (_, summary, files) = tracker.calls
    assert folder == run.path
    assert config["train.steps"] == 300
    assert config["data.synthetic.users"] == 80
    assert not any(name.startswith(("tune", "experiment")) for name in config)
    assert [(agent, step, values["R_cum"]) for _, agent, step, values in points] == curves(run)
    assert len(points) == 3  # before the first step, half-way, at the end
    assert summary["agents"]["random"]["R_cum"]["mean"] == pytest.approx(
        run.episodes.filter(pl.col("agent") == "random")["R_cum"].mean()
    )
    assert [path.name for path in files] == ["config.yaml", "summary.json", "summary.md"]
    assert run.episodes.equals(plain.episodes)  # tracking changes no number


def test_ones_own_tracker_is_named_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_notes.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    flags = ["--train.steps", "0", "--data.synthetic.users", "80", "--data.synthetic.items", "60"]
    flags += ["--data.synthetic.categories", "5", "--data.synthetic.dim", "4", "--evaluation.users", "15"]
    flags += [
        "--agents",
        "[random]",
        "--env.max_steps",
        "12",
        "--planner.clusters",
        "5",
        "--evaluation.bootstrap",
        "100",
    ]
    assert main(["train", "quickstart", "--out", "mine", "--track", "my_notes:Notes", *flags]) == 0
    assert "track" not in (tmp_path / "mine" / "config.yaml").read_text()
    assert main(["train", "--resume", "mine", "--track=my_notes:Notes"]) == 0
    first, second = sys.modules["my_notes"].Notes.made
    with monkeypatch.context() as patched:
        patched.setattr("lerl.run.train.judge", interrupted)
        assert main(["train", "quickstart", "--out", "other", "--track", "my_notes:Notes", *flags]) == 130
    assert "go on with: lerl train --resume other --track my_notes:Notes\n" in capsys.readouterr().err
    assert [call[0] for call in first.calls] == [call[0] for call in second.calls] == ["begin", "end"]
    names = {path.relative_to("mine").as_posix() for path in first.calls[-1][2]}
    assert {"config.yaml", "summary.json", "summary.md"} <= names
    assert {"plots/session_lengths.png", "report.html"} <= names
    capsys.readouterr()


@pytest.mark.parametrize("where", ["begin", "curve", "end"])
def test_a_tracker_that_fails_is_one_warning_and_the_run_is_whole(plain: lerl.Run, tmp_path: Path, where: str) -> None:
    tracker = Kept(fails=where)
    with pytest.warns(UserWarning, match=f"Kept.{where} fails: ConnectionError: the tracker's server is gone") as said:
        run = lerl.train("quickstart", tmp_path / "run", track=tracker, **WORLD)
    assert len(said) == 1
    assert tracker.calls[-1][0] == where  # it is not called again
    assert run.episodes.equals(plain.episodes)
    assert curves(run) == curves(plain)


def test_a_run_that_breaks_off_says_so_and_a_resumed_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = Kept(made="run-7")
    break_off(monkeypatch, tmp_path / "run", first, **WORLD)
    assert [call[0] for call in first.calls] == ["begin", *["curve"] * 3, "broken_off"]
    second = Kept()
    run = lerl.Run(tmp_path / "run").resume(track=second)
    assert second.before == "run-7"
    assert [call[0] for call in second.calls] == ["begin", "end"]  # its curves are there already
    third = Kept(made="run-8")
    capsys.readouterr()
    run.resume(track=third)
    assert capsys.readouterr().err == "lerl: note: Kept cannot go on in the tracked run run-7; this is run-8\n"
    assert len(third.named("curve")) == 3  # which another tracked run lacks


def test_a_run_that_was_not_tracked_is_told_whole_afterwards(plain: lerl.Run, tmp_path: Path) -> None:
    tracker = Kept()
    plain.resume(track=tracker)
    assert [(agent, step, values["R_cum"]) for _, agent, step, values in tracker.named("curve")] == curves(plain)


def test_a_run_of_somebody_else_cannot_name_a_tracked_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = WORLD | {"agents": ["random"]}
    run = lerl.train("quickstart", tmp_path / "run", track=Kept(made="theirs"), **small)
    assert json.loads((run.path / KEPT).read_text())["Kept"]["id"] == "theirs"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "my own"))  # another user's key
    tracker = Kept()
    run.resume(track=tracker)
    assert tracker.before is None
    (run.path / KEPT).write_text('{"Kept": []}')
    run.resume(track=tracker)
    assert tracker.before is None


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """MLflow's client of a store in the test's folder."""
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "team")
    client = mlflow.MlflowClient()
    client.create_experiment("team", artifact_location=(tmp_path / "artefacts").as_uri())
    return client


@pytest.mark.filterwarnings("ignore")  # of MLflow's own libraries
def test_mlflow_holds_settings_curves_table_and_files(tmp_path: Path, store: Any) -> None:
    run = lerl.train("quickstart", tmp_path / "run", track="mlflow", **WORLD)
    (kept,) = store.search_runs([store.get_experiment_by_name("team").experiment_id])
    assert kept.info.run_name == "run"
    assert kept.info.status == "FINISHED"
    assert kept.data.params["train.steps"] == "300"
    history = store.get_metric_history(kept.info.run_id, "curve/flat_ppo/R_cum")
    assert [(point.step, point.value) for point in history] == [(step, value) for _, step, value in curves(run)]
    interval = run.summary["agents"]["random"]["R_cum"]
    found = [kept.data.metrics[f"table/random/R_cum{end}"] for end in ("_low", "", "_high")]
    assert found == [interval["low"], interval["mean"], interval["high"]]
    assert {one.path for one in store.list_artifacts(kept.info.run_id)} == {"config.yaml", "summary.json", "summary.md"}
    run.plot(run.path / "plots")
    run.resume(track="mlflow")
    (kept,) = store.search_runs([store.get_experiment_by_name("team").experiment_id])  # still one
    assert kept.info.status == "FINISHED"
    assert len(store.get_metric_history(kept.info.run_id, "curve/flat_ppo/R_cum")) == 3
    assert "plots/learning_curves.png" in {one.path for one in store.list_artifacts(kept.info.run_id, "plots")}


@pytest.mark.filterwarnings("ignore")  # of MLflow's own libraries
def test_mlflow_begins_another_run_where_the_old_one_is_gone(
    tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    break_off(monkeypatch, tmp_path / "run", "mlflow", **WORLD | {"agents": ["random"]})
    experiment = store.get_experiment_by_name("team").experiment_id
    (kept,) = store.search_runs([experiment])
    assert kept.info.status == "KILLED"
    store.delete_run(kept.info.run_id)
    lerl.Run(tmp_path / "run").resume(track="mlflow")
    (other,) = store.search_runs([experiment])
    assert other.info.run_id != kept.info.run_id
    said = f"mlflow cannot go on in the tracked run {kept.info.run_id}; this is {other.info.run_id}"
    assert said in capsys.readouterr().err


def test_wandb_holds_the_same_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = lerl.train("quickstart", tmp_path / "run", track="wandb", **WORLD)
    records = list(wandb_records(tmp_path / "wandb"))
    (begun,) = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    assert begun.display_name == "run"
    assert begun.project == "lerl"
    assert json.loads((run.path / KEPT).read_text())["wandb"]["id"] == begun.run_id
    settings = {item.key: json.loads(item.value_json) for item in begun.config.update}
    assert settings["train.steps"] == 300
    rows = [
        {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.WhichOneof("record_type") == "history"
    ]
    points = [("flat+ppo", row["user_steps"], row["curve/flat_ppo/R_cum"]) for row in rows]
    assert points == curves(run)
    table = {
        item.key or "/".join(item.nested_key): json.loads(item.value_json)
        for record in records
        if record.WhichOneof("record_type") == "summary"
        for item in record.summary.update
    }
    assert table["table/random/R_cum_low"] == run.summary["agents"]["random"]["R_cum"]["low"]
    (files,) = [record.artifact for record in records if record.WhichOneof("record_type") == "artifact"]
    assert {entry.path for entry in files.manifest.contents} == {"config.yaml", "summary.json", "summary.md"}
    capsys.readouterr()
    run.resume(track="wandb")  # what is offline cannot go on
    assert f"wandb cannot go on in the tracked run {begun.run_id}; this is " in capsys.readouterr().err
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 2


def wandb_records(folder: Path) -> Iterator[Any]:
    """What an offline run of wandb has written: protocol buffers in LevelDB's format of logs.

    https://github.com/google/leveldb/blob/main/doc/log_format.md: blocks of 32 KiB hold pieces, each after four bytes
    of a checksum, two of its length and one of its type: whole (1), first (2), middle (3) or last (4). wandb's own
    header is the first seven bytes of the file.
    """
    from wandb.proto import wandb_internal_pb2

    (path,) = folder.glob("offline-run-*/*.wandb")
    data, at, found = path.read_bytes(), 7, b""
    while at < len(data):
        if 32768 - at % 32768 < 7:  # no room for a head: zeros up to the next block
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        found += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(found)
            yield record
            found = b""


def test_tensorboard_has_what_learners_do_not_write(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = lerl.train("quickstart", tmp_path / "run", track="tensorboard", **WORLD)
    run.plot(run.path / "plots")
    run.resume(track="tensorboard")
    events = EventAccumulator(str(run.path / "logs" / "lerl")).Reload()
    steps = {point.step for point in events.Scalars("curve/flat_ppo/R_cum")}
    assert steps == {step for _, step, _ in curves(run)}
    low = run.summary["agents"]["random"]["R_cum"]["low"]
    assert events.Scalars("table/random/R_cum_low")[-1].value == pytest.approx(low)
    assert "learning_curves" in events.Tags()["images"]
    (text,) = {event.tensor_proto.string_val[0].decode() for event in events.Tensors("configuration/text_summary")}
    assert "| train.steps | 300 |" in text


def test_what_is_no_tracker_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(PluginError, match=r"--track is 'mlfow', which is not one of mlflow, .* Did you mean 'mlflow'"):
        open_tracker("mlfow")
    with pytest.raises(PluginError, match="module 'nowhere' cannot be imported"):
        open_tracker("nowhere:Tracker")
    monkeypatch.setitem(sys.modules, "wandb", None)  # as if it were not installed
    with pytest.raises(MissingExtraError, match=r"this needs wandb; install it with: pip install 'lerl-rec\[track\]'"):
        open_tracker("wandb")
    assert main(["train", "quickstart", "--track", "wandb", "--out", "run"]) == 2
    assert main(["train", "quickstart", "--track"]) == 2
    assert main(["tune", "quickstart", "--track", "wandb"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "lerl: error: this needs wandb; install it with: pip install 'lerl-rec[track]'"
    assert said[1].startswith("lerl: error: --track needs a tracker: mlflow, wandb, tensorboard, or your own")
    assert said[2].startswith("lerl: error: unknown key --track")
    assert not (tmp_path / "run").exists()


def test_names_are_such_as_all_trackers_take() -> None:
    assert metric_name("curve", "flat+ppo@det", "R_cum") == "curve/flat_ppo_det/R_cum"
    some = {"mean": 2.0, "low": None, "high": 3.0}
    summary: Any = {"users": 1, "seeds": 1, "agents": {"a+b": {"R_cum": some, "iqm": some}}, "differences": []}
    assert table_values(summary) == {"table/a_b/R_cum": 2.0, "table/a_b/R_cum_high": 3.0}
