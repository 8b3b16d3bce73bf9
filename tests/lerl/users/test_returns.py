"""`lerl fit --returns` from a prepared folder to settings that can be pasted into a recipe."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

import lerl
from lerl.agents.config import TrainConfig
from lerl.cli.main import main
from lerl.config.schema import Config, DataConfig, EvaluationConfig
from lerl.envs.checks import build
from lerl.envs.config import SimulatorConfig
from lerl.envs.fitting.log_sessions import LogSessions
from lerl.envs.fitting.returns import HABITS, fit_gaps, read_gap, write_returns
from lerl.envs.prepare import import_logs
from lerl.envs.schema import DataError
from lerl.envs.sessions.config import Return
from lerl.envs.store import INTERACTIONS_FILE, RETURNS_FILE, MissingDataError
from lerl.run.specs import ineffective
from lerl.run.task import Task
from lerl.users import returns as module
from lerl.users.returns import gap_statistics
from tests.envs.made_sessions import PLANTED, made_log, made_sessions

COUNTS = {"DRAWS": 4, "CHECK_DRAWS": 40, "REPLICATES": 2, "SHUFFLES": 2}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder made of 200 people's sessions of twelve days, of 40 items that everybody meets once at most."""
    folder = tmp_path_factory.mktemp("returns")
    log = made_log(made_sessions(PLANTED, 5, users=200, days=12.0), 5, rows=2)
    places = log.select(pl.int_range(pl.len()).over("user")).to_series().to_numpy()
    log = log.with_columns(item=(places + log["user"].to_numpy()) % 400).filter(pl.Series(places < 400))
    log.select("user", "item", "click", "time").write_parquet(folder / "log.parquet")
    import_logs(folder / "log.parquet", None, folder / "prepared", dim=2)
    return folder / "prepared"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, count in COUNTS.items():
        monkeypatch.setattr(module, name, count)


def test_gaps_are_fitted_checked_printed_and_kept(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", str(prepared), "--returns"]) == 0
    printed = capsys.readouterr().out
    for words in (
        "sessions of 200 users, apart by pauses of 30 minutes or more",
        "were cut off by the end of the log",
        "session, shuffled",
        "session, undiluted",
        "next session",
        "between users: who likes more, and all in which they differ",
        "of 6 statistics inside",
        "what no log tells: whether quality is the cause",
    ):
        assert words in printed
    lines = printed.split("settings that simulate these gaps where env.horizon is days:\n")[1].split("written:")[0]
    config = build(Config, yaml.safe_load(lines), "")
    kept = read_gap(prepared)
    command = f"lerl train logs --data.path {prepared}"
    assert printed.splitlines()[-1].startswith(f"judge agents on people who come back so: {command}")
    assert printed.splitlines()[-1].endswith(" --env.horizon days --data.returns fitted")
    assert not config.env.return_.churn.enabled
    assert config.env.return_.gap.typical == pytest.approx(kept.typical, rel=1e-3)
    assert kept.shape == pytest.approx(PLANTED.shape, rel=0.1)

    first = (prepared / RETURNS_FILE).read_bytes()
    assert main(["fit", str(prepared), "--returns", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (prepared / RETURNS_FILE).read_bytes() == first
    assert found["estimates"]["typical"]["value"] == kept.typical
    assert found["recipe"] in "\n".join(line.removeprefix("  ") for line in lines.splitlines())
    assert len(found["held_out"]) == 6


def test_the_day_of_the_week_is_told_where_it_was_fitted(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", str(prepared), "--returns", "--weekly"]) == 2
    assert "3 weeks are needed to tell the days of the week" in capsys.readouterr().err
    assert main(["fit", str(prepared), "--model", "latent", "--weekly"]) == 2
    assert "--weekly is for --returns" in capsys.readouterr().err
    made = made_sessions(PLANTED, 0, users=60)
    with_week, without = fit_gaps(made, weekly=True), fit_gaps(made)
    assert module._busiest(dataclasses.replace(with_week, peak=4.1)) == "busiest hour Monday, 2.4 UTC"
    assert module._busiest(dataclasses.replace(without, peak=0.1)) == "busiest hour 2.4 UTC"
    kept = ["weekly" in "".join(module._recipe(fitted)) for fitted in (with_week, without)]
    assert kept == [True, False]


def test_a_longer_pause_makes_fewer_sessions(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = []
    for pause in ("30", "600"):
        assert main(["fit", str(prepared), "--returns", "--pause", pause, "--json"]) == 0
        counts.append(json.loads(capsys.readouterr().out)["counts"]["sessions"])
        assert read_gap(prepared).shortest == pytest.approx(int(pause) / 1440)
    assert counts[0] > counts[1]


def test_gaps_that_are_not_of_the_form_are_said_to_be_so(
    prepared: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = module.gap_statistics
    away = {"called": 0}

    def odd(sessions, weights):  # type: ignore[no-untyped-def]
        away["called"] += 1
        simulated = away["called"] > 1 + COUNTS["CHECK_DRAWS"]
        return {name: value + 100.0 * simulated for name, value in real(sessions, weights).items()}

    monkeypatch.setattr(module, "gap_statistics", odd)
    assert main(["fit", str(prepared), "--returns"]) == 0
    printed = capsys.readouterr().out
    assert "0 of 6 statistics inside" in printed
    assert "half of the statistics or more are outside: gaps of this log are not of this form; do not use" in printed
    assert "--data.returns fitted" not in printed
    with pytest.raises(
        DataError, match=r"must not be used: 0 of 6 .* or judge with assumed gaps: --data.returns assumed"
    ):
        Task.load(on(prepared))


def on(folder: Path | None, **env: Any) -> Config:
    """A recipe of people who come back as was fitted to a folder's log."""
    world = SimulatorConfig(**({"horizon": "days", "days": 40.0} | env))
    return Config(data=DataConfig(path=folder and str(folder), returns="fitted"), env=world)


def test_lives_are_judged_with_what_was_fitted(prepared: Path) -> None:
    (prepared / RETURNS_FILE).unlink(missing_ok=True)
    assert Task.load(on(prepared, horizon="session")).lives is None  # nothing is read where nobody comes back
    with pytest.raises(
        MissingDataError, match=r"no fitted gaps .* --returns, or judge with assumed gaps: --data.returns"
    ):
        Task.load(on(prepared))
    assert main(["fit", str(prepared), "--returns"]) == 0
    lives = Task.load(on(prepared)).lives
    assert lives is not None
    assert lives.return_.gap == read_gap(prepared)
    assert lives.return_.habit in HABITS
    assert not lives.return_.churn.enabled
    assert lives.return_.rest == Return().rest
    with pytest.raises(ValueError, match=r"data.returns is fitted, which needs a log: give --data.path FOLDER"):
        Task.load(on(None))


def test_a_run_of_sessions_is_judged_on_lives_as_fitted(prepared: Path, tmp_path: Path) -> None:
    write_returns(prepared, fit_gaps(made_sessions(PLANTED, 0, users=60)), {"held_out": [{"inside": True}]})
    config = Config(
        agents=["random"],
        data=DataConfig(path=str(prepared)),
        env=SimulatorConfig(slate_size=2, max_steps=4),
        train=TrainConfig(steps=0),
        evaluation=EvaluationConfig(users=6, bootstrap=100),
    )
    run = lerl.train(config, tmp_path / "run")
    fitted, assumed = (
        run.evaluate(env={"horizon": "days", "days": 60.0}, data={"returns": how}) for how in ("fitted", "assumed")
    )
    assert [found.summary["lives"]["gaps"] for found in (fitted, assumed)] == ["fitted", "assumed"]
    assert fitted.lives is not None
    assert not fitted.lives["churned"].any()
    assert assumed.lives is not None
    assert assumed.lives["churned"].any()


def test_settings_that_were_fitted_have_no_effect() -> None:
    given = ["env.return_.gap.typical", "env.return_.churn.highest", "env.return_.rest.boredom_fades", "data.returns"]
    assert ineffective(on(Path("data")), given) == dict.fromkeys(given[:2], "data.returns is fitted")
    assert ineffective(on(Path("data"), horizon="session"), given) == dict.fromkeys(given, "env.horizon is session")


def test_a_log_whose_held_out_users_hardly_came_back_is_refused() -> None:
    made = made_sessions(PLANTED, 0, users=30, days=20.0)  # all of them to train on
    with pytest.raises(DataError, match="held-out users, about a quarter of all, came back 0 times"):
        module._check_held_out(made, Path("data"))


def test_statistics_of_no_gaps_are_none() -> None:
    made = made_sessions(PLANTED, 0, users=30, days=20.0)
    nobody = gap_statistics(dataclasses.replace(made, **first_of(made)), np.ones(30))
    assert nobody["sessions per user"] == 1.0
    assert nobody["median gap, days"] == nobody["share within 1 day"] == 0.0


def first_of(made: LogSessions) -> dict[str, Any]:
    """Each user's first session alone."""
    return {name: getattr(made, name)[made.first] for name in ("users", "starts", "ends", "counts", "quality")}


def test_statistics_are_those_of_gaps_that_ended() -> None:
    made = made_sessions(PLANTED, 0, users=30, days=20.0)
    gaps, ones = made.gaps[made.returned], np.ones(30)
    found = gap_statistics(made, ones)
    assert list(found) == [
        "median gap, days", "share within 1 day", "share above 3 days", "mean of log gaps",
        "correlation of log gap and next", "sessions per user",
    ]  # fmt: skip
    assert found["share within 1 day"] == pytest.approx((gaps <= 1).mean())
    assert found["mean of log gaps"] == pytest.approx(np.log(gaps).mean())
    assert found["sessions per user"] == len(made) / 30
    assert abs((gaps <= found["median gap, days"]).mean() - 0.5) < 2 / len(gaps)
    pairs = [
        (np.log(own[:-1]), np.log(own[1:]))
        for user in range(30)
        if len(own := made.gaps[(made.users == user) & made.returned]) > 1
    ]
    one, other = (np.concatenate(side) for side in zip(*pairs, strict=True))
    assert found["correlation of log gap and next"] == pytest.approx(np.corrcoef(one, other)[0, 1])
    twice = gap_statistics(made, np.where(np.arange(30) == 3, 2.0, 0.0))
    assert twice["sessions per user"] == (made.users == 3).sum()


def test_a_folder_without_times_is_one_error(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = pl.read_parquet(prepared / INTERACTIONS_FILE).select("user", "item", "click")
    log.write_parquet(tmp_path / "log.parquet")
    import_logs(tmp_path / "log.parquet", None, tmp_path / "bare", dim=2)
    assert main(["fit", str(tmp_path / "bare"), "--returns"]) != 0
    said = capsys.readouterr().err
    assert "has no times, and the gaps between sessions need them; give a log with times" in said
    assert not (tmp_path / "bare" / RETURNS_FILE).exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--returns", "--dynamics"], "--dynamics is for --model; leave it out with --returns"),
        (["--returns", "--epochs", "3"], "--epochs is for --model; leave it out with --returns"),
        (["--returns", "--clip", "1"], "--clip is for --knowledge federated; leave it out with --returns"),
        (["--model", "latent", "--pause", "60"], "--pause is for --returns; leave it out with --model"),
        (["--returns", "--pause", "0"], "--pause: "),
        (["--returns", "--model", "latent"], "not allowed with argument"),
    ],
)
def test_flags_of_other_fits_are_refused(
    prepared: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert main(["fit", str(prepared), *more]) == 2
    assert said in capsys.readouterr().err
