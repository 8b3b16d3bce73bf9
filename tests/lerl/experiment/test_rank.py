"""lerl rank from a file to a table: what is printed and kept, going on, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lerl.agents.next_item.ranking import Places
from lerl.cli.main import main
from lerl.experiment.rank import command, judge
from lerl.experiment.rank.command import rank
from lerl.experiment.rank.page import report_rank
from lerl.experiment.rank.plan import estimate
from lerl.experiment.rank.request import Data, Request, request
from lerl.experiment.rank.trial import Judged
from lerl.files import RunError

FLAGS = {
    row: {"width": "16", "layers": "1", "batch": "64", "epochs": "3", "rate": "0.01"} for row in ("sasrec", "hstu")
}
ITEMS = 30


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Users who go through 30 items in one order, from anywhere."""
    draw, path = np.random.default_rng(0), tmp_path_factory.mktemp("log") / "chain.csv"
    lines = ["user,item,time"]
    for user in range(80):
        first, count = draw.integers(ITEMS), draw.integers(2, 9)
        lines += [f"u{user},i{(first + n) % ITEMS},{978_300_000 + 60 * n + user}" for n in range(count)]
    path.write_text("\n".join(lines) + "\n")
    return path


def asked(log: Path, seeds: int = 2, **more: Any) -> Request:
    return request(Data(log, **more), ["sasrec"], range(seeds), {"sasrec": FLAGS["sasrec"]})


@pytest.fixture(scope="module")
def done(log: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("rank") / "out"
    return out, rank(asked(log), out, lambda line: None)


def test_the_table_holds_what_is_asked_for_beside_what_always_stands_there(done: tuple[Path, dict[str, Any]]) -> None:
    out, summary = done
    assert list(summary["rows"]) == ["popularity", "counts", "sasrec"]
    assert summary["rows"]["counts"]["NDCG@10"]["mean"] > 0.9 > summary["rows"]["popularity"]["NDCG@10"]["mean"]
    assert summary["rows"]["sasrec"]["epochs"] == [3, 3]
    assert {(one["a"], one["b"]) for one in summary["differences"]} == {
        ("popularity", "counts"), ("popularity", "sasrec"), ("counts", "sasrec"),
    }  # fmt: skip
    kept = json.loads((out / "summary.json").read_text())
    assert {name: kept[name] for name in summary} == json.loads(json.dumps(summary))
    assert set(kept["ratios_to"]["counts"]) == {"popularity", "sasrec"}
    ratio = kept["ratios_to"]["counts"]["sasrec"]["mean"]
    means = [summary["rows"][row]["NDCG@10"]["mean"] for row in ("sasrec", "counts")]
    assert ratio == pytest.approx(means[0] / means[1])
    page = (out / "report.md").read_text()
    assert "| sasrec |" in page
    assert "- sasrec: width 16, layers 1" in page
    assert not (out / "unfinished").exists()


def test_the_page_draws_rows_beside_counts_and_can_be_written_again(
    done: tuple[Path, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, summary = done
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 4  # three rows, and how sasrec learned
    assert 'aria-label="NDCG@10 of sasrec"' in page
    kept = summary["rows"]["sasrec"]
    best = ", ".join(
        f"{values[epoch - 1]:.4f} in epoch {epoch}"
        for values, epoch in zip(kept["validation"], kept["best"], strict=True)
    )
    assert f"<b>sasrec</b>: best {best}" in page
    assert "What was claimed" not in page
    main(["report", str(out), "--out", str(tmp_path / "again.html")])
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == page
    assert capsys.readouterr().out == f"page: {tmp_path / 'again.html'}\n"


def test_a_damaged_summary_is_refused_with_what_writes_it_anew(
    done: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "ranks.parquet").write_bytes((done[0] / "ranks.parquet").read_bytes())
    for damaged in ("{", '{"rows": {}}', '{"rows": {"counts": {}}}', "[]"):
        (tmp_path / "summary.json").write_text(damaged)
        with pytest.raises(RunError, match="write it again with the same lerl rank command"):
            report_rank(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_ranks_of_every_user_are_kept_in_the_ids_of_the_data(done: tuple[Path, dict[str, Any]]) -> None:
    out, summary = done
    ranks = pl.read_parquet(out / "ranks.parquet")
    assert ranks.columns == ["row", "seed", "user", "rank", "tied", "rank_by_code"]
    assert ranks["rank_by_code"].null_count() == len(ranks)
    counted = ranks.group_by("row", "seed", maintain_order=True).agg(pl.col("user").n_unique())
    assert counted.rows() == [(row, seed, summary["users"]) for row, seed in
                              (("popularity", 0), ("counts", 0), ("sasrec", 0), ("sasrec", 1))]  # fmt: skip
    assert set(ranks["user"]) <= {f"u{n}" for n in range(80)}
    mine = ranks.filter(row="sasrec", seed=1)
    gain = (1 / (mine["rank"] + 1).log(2)).to_numpy() * (mine["rank"] <= 10).to_numpy()
    other = ranks.filter(row="sasrec", seed=0)
    gain_0 = (1 / (other["rank"] + 1).log(2)).to_numpy() * (other["rank"] <= 10).to_numpy()
    assert (gain.mean() + gain_0.mean()) / 2 == pytest.approx(summary["rows"]["sasrec"]["NDCG@10"]["mean"], rel=1e-3)


def test_a_row_with_codes_has_ranks_by_code_and_reads_what_items_are(log: Path, tmp_path: Path) -> None:
    listed = tmp_path / "items.csv"
    titles = [f"i{item},kind{item // 6} shade{item % 6 if item % 6 else 1}" for item in range(ITEMS)]  # two the same
    listed.write_text("\n".join(["item,title", *titles]) + "\n")
    flags = {"tiger": {**FLAGS["sasrec"], "size": "16", "levels": "2"}}
    asked = request(Data(log, listed), ["tiger"], [0], flags)
    said: list[str] = []
    summary = rank(asked, tmp_path / "out", said.append)
    assert any(line.startswith("tiger-seed0: codes 16 x ") for line in said)
    ranks = pl.read_parquet(tmp_path / "out" / "ranks.parquet").filter(row="tiger")
    assert ranks["rank_by_code"].null_count() == 0
    assert (ranks["rank_by_code"] <= ranks["rank"]).all()
    assert summary["rows"]["tiger"]["NDCG@10 by code"] >= summary["rows"]["tiger"]["NDCG@10"]["mean"]
    page = (tmp_path / "out" / "report.md").read_text()
    assert "- tiger is judged by items; whether the code is right" in page
    assert "    - codes 16 x " in page
    listed.write_text(listed.read_text().replace("kind0", "kind1"))
    with pytest.raises(RunError, match=r"tiger-seed0\.npz is of other data"):
        rank(asked, tmp_path / "out", said.append)
    with pytest.raises(ValueError, match=r"nothing says what items are: .* give a file of items with --items"):
        rank(request(Data(log), ["sasrec", "tiger"], [0], flags), tmp_path / "none", said.append)
    small = flags | {"tiger": flags["tiger"] | {"size": "2", "levels": "1"}}
    with pytest.raises(ValueError, match=r"1 digits of 2 name 2 items"):
        rank(request(Data(log, listed), ["sasrec", "tiger"], [0], small), tmp_path / "none", said.append)
    assert not (tmp_path / "none").exists()  # refused before anything was trained


def test_the_same_command_goes_on_where_it_was_stopped(
    log: Path, done: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    run, ran = command.run, list[str]()

    def killed(data: Any, trial: Any, *more: Any) -> None:
        if trial.name == "sasrec-seed1":
            raise Killed
        run(data, trial, *more)

    monkeypatch.setattr(command, "run", killed)
    with pytest.raises(Killed):
        rank(asked(log), tmp_path / "out", lambda line: None)
    assert not (tmp_path / "out" / "summary.json").exists()

    def noted(data: Any, trial: Any, *more: Any) -> None:
        ran.append(trial.name)
        run(data, trial, *more)

    monkeypatch.setattr(command, "run", noted)
    rank(asked(log), tmp_path / "out", lambda line: None)
    assert ran == ["sasrec-seed1"]
    same = [(folder / "ranks.parquet").read_bytes() for folder in (tmp_path / "out", done[0])]
    assert same[0] == same[1]


def test_seeds_and_rows_may_be_added(log: Path, tmp_path: Path) -> None:
    rank(request(Data(log), ["counts"], [0], {}), tmp_path / "out", lambda line: None)
    said: list[str] = []
    rank(asked(log, seeds=1), tmp_path / "out", said.append)
    assert [line.split()[1] for line in said if line.startswith("[")] == ["sasrec-seed0:"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"exclude": True}, "is of other data, another --split or another --exclude-history"),
        ({"split": "time"}, "is of other data"),
    ],
)
def test_a_folder_of_other_data_is_refused(
    change: dict[str, Any], message: str, log: Path, done: tuple[Path, dict[str, Any]]
) -> None:
    before = (done[0] / "summary.json").read_bytes()
    with pytest.raises(RunError, match=message):
        rank(asked(log, **change), done[0], lambda line: None)
    assert (done[0] / "summary.json").read_bytes() == before


def test_a_folder_of_other_settings_is_refused(log: Path, done: tuple[Path, dict[str, Any]]) -> None:
    other = asked(log)
    other = replace(other, rows={**other.rows, "sasrec": replace(other.rows["sasrec"], dropout=0.25)})
    with pytest.raises(RunError, match=r"sasrec-seed0\.npz: --sasrec\.dropout was 0\.3 and is now 0\.25; give another"):
        rank(other, done[0], lambda line: None)


def test_the_page_of_a_folder_that_was_not_brought_to_its_end(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    rank(request(Data(log), [], [0], {}), out, lambda line: None)
    (out / "ranks.parquet").unlink()
    assert main(["report", str(out), "--out", str(tmp_path / "new" / "page.html")]) == 0
    (out / "summary.json").unlink()
    capsys.readouterr()
    assert main(["report", str(out)]) == 2
    said = capsys.readouterr().err
    assert "summary.json is missing; write it again with the same lerl rank command" in said
    assert len(said.splitlines()) == 1


def test_codes_that_few_words_cannot_make_are_refused_before_anything_is_fitted(log: Path, tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item,title\n" + "".join(f"i{n},word{n % 3}\n" for n in range(ITEMS)))
    wanted = request(Data(log, tmp_path / "items.csv"), ["mdgr"], [0], {})
    with pytest.raises(ValueError, match="at most the 3 numbers of a vector, given 4; use fewer levels, or give more"):
        rank(wanted, tmp_path / "out", lambda line: None)
    assert not (tmp_path / "out").exists()


def test_a_damaged_trial_is_named(log: Path, tmp_path: Path) -> None:
    wanted = request(Data(log), [], [0], {})
    rank(wanted, tmp_path / "out", lambda line: None)
    path = tmp_path / "out" / "trials" / "counts-seed0.npz"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(RunError, match=r"counts-seed0\.npz is damaged .*remove it and give the same command again"):
        rank(wanted, tmp_path / "out", lambda line: None)


def test_a_folder_of_something_else_is_refused(log: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("x")
    with pytest.raises(FileExistsError, match="holds something other than rows that were ranked"):
        rank(asked(log), tmp_path, lambda line: None)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_excluding_the_history_and_splitting_by_time_are_other_figures(log: Path, tmp_path: Path) -> None:
    means = []
    for number, how in enumerate(({}, {"exclude": True}, {"split": "time"})):
        wanted = request(Data(log, **how), [], [0], {})
        summary = rank(wanted, tmp_path / str(number), lambda line: None)
        assert summary["data"]["exclude_history"] is bool(how.get("exclude"))
        means.append(summary["rows"]["popularity"]["NDCG@10"]["mean"])
    assert means[0] < means[1]
    assert len(set(means)) == 3


def test_a_plan_measures_and_writes_nothing(log: Path, tmp_path: Path) -> None:
    costs = {cost.row: cost for cost in estimate(asked(log), tmp_path / "out")}
    assert not (tmp_path / "out").exists()
    assert (costs["counts"].trials, costs["counts"].hours) == (1, 0)
    assert (costs["sasrec"].trials, costs["sasrec"].epochs) == (2, 3)
    assert costs["sasrec"].hours == pytest.approx(2 * 3 * costs["sasrec"].seconds / 3600)
    assert costs["sasrec"].seconds > 0


def judged(ranks: list[int], seed: int = 0) -> Judged:
    shown = np.bincount(np.arange(10), minlength=20)
    about = {"seed": seed, "seconds": 1.0, "parameters": 3, "epochs": 0, "best": 0, "validation": [], "device": "cpu"}
    return Judged(Places(np.array(ranks, float), np.ones(len(ranks), int), shown), about)


def test_intervals_of_a_case_by_hand() -> None:
    """Eight users, four of them found: draws of 8 with p = 1/2 are 1 or less in 3.5 % of cases, and 0 in 0.4 %."""
    found = judge.judge({"a": [judged([1, 1, 1, 1, 99, 99, 99, 99])], "b": [judged([1] * 8)]}, draws=4000)
    mean, low, high = (found["rows"]["a"]["Recall@10"][name] for name in ("mean", "low", "high"))
    assert (mean, low, high) == (0.5, 0.125, 0.875)
    assert found["rows"]["b"]["Recall@10"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    of_pair = next(one for one in found["differences"] if one["metric"] == "Recall@10")
    assert (of_pair["mean"], of_pair["low"], of_pair["high"]) == (-0.5, -0.875, -0.125)
    assert found["rows"]["a"]["coverage@10"] == 0.5
    assert judge.ratios_to(found, "b", "Recall@10")["a"]["mean"] == 0.5
    assert judge.ratios_to(found, "a", "Recall@10")["b"]["mean"] == 2


def test_two_rows_that_are_wrong_for_the_same_users_differ_less_than_each_varies() -> None:
    ranks = [1, 2, 3, 50, 60, 70, 4, 5] * 10
    found = judge.judge({"a": [judged(ranks)], "b": [judged([one + 1 for one in ranks])]}, draws=500)
    pair = next(one for one in found["differences"] if one["metric"] == "MRR")
    alone = found["rows"]["a"]["MRR"]
    assert pair["low"] > 0
    assert pair["high"] - pair["low"] < 0.7 * (alone["high"] - alone["low"])


def test_draws_in_parts_are_paired_and_of_the_sample_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "WEIGHTS", 64)
    rows = {"a": [judged([1, 2, 30, 4]), judged([1, 30, 3, 4], 1)], "b": [judged([1, 2, 30, 4])]}
    found = judge.judge(rows, draws=40)
    assert found["seeds"] == 2
    pair = next(one for one in found["differences"] if one["metric"] == "Recall@10")
    assert pair["mean"] == 0
    assert found["rows"]["a"]["Recall@10"]["mean"] == 0.75


def test_the_command_prints_a_table_and_goes_on(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = [f"--hstu.{name}={value}" for name, value in FLAGS["hstu"].items()]
    line = ["rank", str(log), "--rows", "[hstu]", "--seeds", "1", "--out", str(tmp_path / "out"), *flags]
    assert main([*line, "--plan"]) == 0
    assert "3 trials, at most 0.00 hours" in capsys.readouterr().out
    assert main(line) == 0
    printed = capsys.readouterr()
    assert "NDCG@10 / that of counts" in printed.out
    assert "chain.csv: users are user, items are item, in the order of time" in printed.err
    assert main([*line, "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["rows"]) == {"popularity", "counts", "hstu"}
    assert main([*line, "--plan"]) == 0
    assert "\n0 trials" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--rows", "[sasrek]"],
            "no row 'sasrek'; there are popularity, counts, sasrec, hstu, tiger, s2gr, tiger+tca, s2gr+tca, mdgr, "
            "together, jima-pairs, sasrec+items, sasrec+collective, sasrec+lowrank, sasrec+own, and controls ",
        ),
        (["--seeds", "0"], "--seeds must be a whole number from 1 to 100, given '0'"),
        (["--split", "half"], "--split must be one of last, time, last+validation, given 'half'"),
        (["--sasrec.depth", "2"], "--sasrec.depth is no setting; of sasrec there are: --sasrec.width"),
        (["--hstu.dropout", "0.1"], "--hstu.dropout is of a row that is not among --rows"),
        (["--epoch", "3"], "unrecognized arguments: --epoch; see lerl rank --help"),
        (["--epochs"], "--epochs needs a value"),
        (["--workers", "0"], "--workers must be a whole number from 1"),
    ],
)
def test_flags_that_cannot_be_used_are_one_line(
    flags: list[str], message: str, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rank", str(log), *flags]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"lerl: error: {message}")
    assert printed.count("\n") == 1


@pytest.mark.parametrize(("users", "message"), [("a", "only one list"), ("", "nobody")])
@pytest.mark.parametrize("how", ["last", "last+validation"])
def test_an_interval_needs_two_who_are_judged(
    users: str, message: str, how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{user},{item},{item}" for user in "ab" for item in range(4 if user in users else 2)]
    (tmp_path / "few.csv").write_text("\n".join(["user,item,order", *rows]) + "\n")
    assert main(["rank", str(tmp_path / "few.csv"), f"--split={how}", f"--out={tmp_path / 'out'}"]) == 2
    said = capsys.readouterr().err
    assert f"{message} can be judged of 2, and an interval needs two; give longer lists (" in said
    assert not (tmp_path / "out").exists()


def test_one_folder_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rank"]) == 2
    assert capsys.readouterr().err.startswith("lerl: error: give one folder or file, given none")


@pytest.mark.slow
def test_workers_give_the_same_bits(log: Path, done: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    flags = [f"--sasrec.{name}={value}" for name, value in FLAGS["sasrec"].items()]
    line = ["rank", str(log), "--rows", "[sasrec]", "--seeds", "2", "--out", str(tmp_path / "out"), *flags]
    assert main([*line, "--workers", "2"]) == 0
    assert (tmp_path / "out" / "ranks.parquet").read_bytes() == (done[0] / "ranks.parquet").read_bytes()
