"""Controls of `lerl rank`: what they are given, what is added, and what a claim beside them needs."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lerl.agents.next_item.registry import CONTROLS, ROWS, all_settings, claims_of, controls_of, row_class
from lerl.cli.main import main
from lerl.envs.sequences import Choices, Lists, leave_one_out
from lerl.experiment.rank.claims import claims
from lerl.experiment.rank.plan import estimate
from lerl.experiment.rank.request import Data, request

ITEMS = 30
SMALL = {"width": "16", "heads": "2", "layers": "1", "batch": "64", "rate": "0.01", "size": "16", "levels": "2"}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Users who go through 30 items in one order, and what the items are called."""
    draw, folder = np.random.default_rng(0), tmp_path_factory.mktemp("log")
    lines = ["user,item,time"]
    for user in range(60):
        first, count = draw.integers(ITEMS), draw.integers(3, 9)
        lines += [f"u{user},i{(first + n) % ITEMS},{978_300_000 + 60 * n + user}" for n in range(count)]
    (folder / "sequences.csv").write_text("\n".join(lines) + "\n")
    titles = [f"i{item},kind{item // 6} shade{item % 6}" for item in range(ITEMS)]
    (folder / "items.csv").write_text("\n".join(["item,title", *titles]) + "\n")
    return folder


def test_a_control_has_the_settings_of_its_row_but_for_those_that_are_fixed() -> None:
    given = {"s2gr": {"width": "32", "align": "0.5"}, "tiger+tca": {"alpha": "0.2", "batch": "64", "rate": "0.002"}}
    found = all_settings(["s2gr", "s2gr-unaligned", "tiger+tca-smoothed", "tiger+tca-teacher"], given, 7)
    plain = all_settings(["s2gr-plain"], {"s2gr": {"width": "32", "smooth": "0.4"}}, None)["s2gr-plain"]
    assert plain == ROWS["tiger"].Settings(width=32, smooth=0.4)
    mine, control = (asdict(found[name]) for name in ("s2gr", "s2gr-unaligned"))
    assert {name: value for name, value in mine.items() if control[name] != value} == {"align": 0.5}
    assert control["align"] == 0
    smoothed, teacher = found["tiger+tca-smoothed"], found["tiger+tca-teacher"]
    assert (smoothed.smoothing, smoothed.batch, smoothed.rate, smoothed.epochs) == (0.2, 64, 0.002, 7)
    taught = ROWS["tiger+tca"].Settings(batch=64, teacher_epochs=7).of_teacher
    assert teacher == taught
    assert (teacher.width, teacher.epochs) == (64, 7)


def test_controls_are_of_rows_that_there_are_and_files_of_trials_are_one_rows() -> None:
    assert all({one.of, one.row} <= set(ROWS) for one in CONTROLS.values())
    assert not set(CONTROLS) & set(ROWS)
    assert not any("-seed" in name or "/" in name for name in (*ROWS, *CONTROLS))
    with pytest.raises(ValueError, match=r"no row 's2gr-unalined'; .* Did you mean s2gr-unaligned\?"):
        row_class("s2gr-unalined")


def test_what_is_added_for_which_rows() -> None:
    assert controls_of(all_settings(["popularity", "tiger"], {}, None)) == ["tiger-random"]
    assert controls_of(all_settings(["s2gr"], {}, None)) == [
        "tiger", "s2gr-plain", "s2gr-unaligned", "s2gr-unsmoothed"
    ]  # fmt: skip
    given = {"s2gr": {"smooth": "0", "align": "0"}}
    assert controls_of(all_settings(["s2gr"], given, None)) == ["tiger", "s2gr-plain"]  # others would be s2gr
    added = request(Data(Path("x")), ["tiger+tca"], [0], {}, controls=True).rows
    assert list(added) == [
        "popularity", "counts", "tiger+tca", "tiger", "tiger+tca-shuffled", "tiger+tca-smoothed", "tiger+tca-teacher"
    ]  # fmt: skip
    assert [(one.row, one.beside) for one in claims_of(["tiger", "s2gr", "tiger-random"])] == [
        ("tiger", "tiger-random"), ("s2gr", "tiger")
    ]  # fmt: skip


def test_two_controls_that_would_be_the_same_are_trained_once_and_stand_for_both() -> None:
    def beside(*rows: str, **flags: Any) -> tuple[list[str], dict[str, list[str]]]:
        asked = request(Data(Path("x")), rows, [0], {"s2gr+tca": {k: str(v) for k, v in flags.items()}}, controls=True)
        there = {row: asdict(settings) for row, settings in asked.rows.items()}
        found = claims_of(there, there)
        teachers = [row for row in there if row.endswith("-teacher")]
        of = {row: [one.beside for one in found if one.row == row] for row in ("tiger+tca", "s2gr+tca")}
        return teachers, {row: [one for one in there if one.endswith("-teacher")] for row, there in of.items()}

    both = ("tiger+tca", "s2gr+tca")
    assert beside(*both) == (["tiger+tca-teacher"], {row: ["tiger+tca-teacher"] for row in both})
    named = ("s2gr+tca-teacher", *both)  # the one that was asked for is it
    assert beside(*named) == (["s2gr+tca-teacher"], {row: ["s2gr+tca-teacher"] for row in both})
    each = {row: [f"{row}-teacher"] for row in both}
    assert beside(*both, teacher_epochs=7) == ([f"{row}-teacher" for row in both], each)  # another teacher
    assert beside("s2gr+tca")[0] == ["s2gr+tca-teacher"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--rows", "[s2gr,s2gr-unaligned]", "--s2gr-unaligned.align", "1"],
            "--s2gr-unaligned.align: s2gr-unaligned is a control, its settings are those of s2gr, but for align 0.0; "
            "use --s2gr.SETTING",
        ),
        (
            ["--rows", "[s2gr-plain]", "--s2gr-plain.width", "8"],
            "--s2gr-plain.width: s2gr-plain is a control, its settings are those of s2gr; use --s2gr.SETTING",
        ),
        (["--rows", "[s2gr-unaligned]", "--s2gr.align", "0"], "s2gr-unaligned would be s2gr itself by these settings"),
        (["--rows", "[tiger]", "--s2gr.align", "0"], "--s2gr.align is of a row that is not among --rows"),
        (["--controls=yes"], "--controls takes no value"),
    ],
)
def test_flags_that_cannot_be_used_are_one_line(
    flags: list[str], message: str, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rank", str(log), *flags]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"lerl: error: {message}")
    assert printed.count("\n") == 1


@pytest.mark.parametrize("name", [name for name, one in CONTROLS.items() if one.row == one.of])
def test_a_control_begins_with_the_weights_of_its_row_and_sees_lists_in_its_order(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    of, lists = CONTROLS[name].of, Lists.of([[(user + step) % ITEMS for step in range(5)] for user in range(40)])
    split = leave_one_out(Choices(tuple(map(str, range(40))), tuple(map(str, range(ITEMS))), lists))
    small = {"width": 16, "heads": 2, "layers": 1, "batch": 32, "epochs": 1, "size": 16, "levels": 2}
    given = {of: {name: str(value) for name, value in small.items()}}
    found = {}
    for one, settings in all_settings([of, name], given, 1).items():
        row = row_class(one)(ITEMS, settings)
        row.know({"title": [f"kind{item // 6} shade{item % 6}" for item in range(ITEMS)]})
        first, seen = {}, []
        made, loss = row.encoder, row.loss

        def encoder(made: Any = made, first: Any = first) -> Any:
            network = made()
            first.update({key: value.detach().clone() for key, value in network.named_parameters()})
            return network

        def told(lists: torch.Tensor, loss: Any = loss, seen: Any = seen) -> Any:
            seen.append(lists.clone())
            return loss(lists)

        monkeypatch.setattr(row, "encoder", encoder)
        monkeypatch.setattr(row, "loss", told)
        row.fit(split.train, split.validation, seed=1)
        found[one] = (first, seen)
    assert found[of][0].keys() == found[name][0].keys()
    assert all(torch.equal(found[of][0][key], found[name][0][key]) for key in found[of][0])
    assert len(found[of][1]) > 1
    assert all(torch.equal(*pair) for pair in zip(found[of][1], found[name][1], strict=True))


def judged(row: str, beside: str, interval: tuple[float, ...], parameters: tuple[int, int] = (100, 100)) -> Any:
    """Two rows of which it is known how they compare: mean, low, high, and the same of the ratio."""
    mean, low, high, *ratio = interval
    one: dict[str, Any] = {"a": beside, "b": row, "metric": "NDCG@10", "mean": -mean, "low": -high, "high": -low}
    one |= {"ratio": 1 / ratio[0], "ratio_low": 1 / ratio[2], "ratio_high": 1 / ratio[1]}
    sizes = dict(zip((row, beside), parameters, strict=True))
    return {
        "rows": {name: {"parameters": size} for name, size in sizes.items()},
        "settings": {row: {"rate": 0.1, "codes": "text"}, beside: {"rate": 0.1, "codes": "random"}},
        "differences": [one],
    }


@pytest.mark.parametrize(
    ("row", "beside", "interval", "said", "shown"),
    [
        (
            "s2gr", "s2gr-unaligned", (0.0003, -0.0005, 0.0011, 1.009, 0.986, 1.031),
            "s2gr above s2gr-unaligned (alignment with groups of codes): NDCG@10 +0.0003 [-0.0005, +0.0011], "
            "+0.9 % [-1.4, +3.1]: not shown", False,
        ),
        (
            "tiger", "tiger-random", (0.012, 0.01, 0.014, 1.8, 1.6, 2.0),
            "tiger above tiger-random (what digits mean): NDCG@10 +0.0120 [+0.0100, +0.0140], +80.0 % [+60.0, +100.0]: "
            "shown", True,
        ),
        (
            "tiger+tca", "tiger+tca-smoothed", (0.0004, 0.0001, 0.0007, 1.01, 1.002, 1.018),
            ": above: shown; the bar is +2 % as well: not reached", False,
        ),
        ("tiger+tca", "tiger+tca-smoothed", (0.004, -0.0001, 0.007, 1.1, 0.99, 1.2), ": above: not shown; ", False),
        (
            "tiger+tca", "tiger+tca-smoothed", (0.004, 0.001, 0.007, 1.1, 1.02, 1.2),
            ": above: shown; the bar is +2 % as well: reached", True,
        ),
        ("s2gr", "tiger", (0.01, 0.005, 0.015, 1.1, 1.05, 1.2), "shown; other settings differ too: codes text", True),
    ],
)  # fmt: skip
def test_a_claim_is_shown_by_its_lower_bound_alone(
    row: str, beside: str, interval: tuple[float, ...], said: str, shown: bool
) -> None:
    (one,) = claims(judged(row, beside, interval))
    assert said in one["said"]
    assert one["shown"] is shown
    (large,) = claims(judged(row, beside, interval, (112, 100)))
    assert "; parameters 1.12 x: not comparable at equal size" in large["said"]
    assert "parameters" not in claims(judged(row, beside, interval, (104, 100)))[0]["said"]


def test_not_worse_is_shown_above_a_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = CONTROLS["tiger-random"]._replace(margin=-0.02)
    monkeypatch.setitem(CONTROLS, "tiger-random", kept)
    for low, shown in ((0.985, True), (0.975, False)):
        (one,) = claims(judged("tiger", "tiger-random", (-0.0001, -0.0004, 0.0002, 0.998, low, 1.01)))
        assert one["shown"] is shown
        assert one["said"].startswith("tiger not worse than tiger-random (")
        assert one["said"].endswith(f"the bar is a lower bound above -2 %: {'' if shown else 'not '}shown")


def test_the_command_fits_controls_says_claims_and_goes_on(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [f"--tiger.{name}={value}" for name, value in SMALL.items()]
    line = ["rank", str(log), "--rows", "[tiger]", "--controls", "--seeds", "1", "--epochs", "2", *flags]
    line += ["--out", str(tmp_path / "out")]
    assert main([*line, "--plan"]) == 0
    assert "\ntiger-random " in capsys.readouterr().out
    assert main(line) == 0
    assert "tiger above tiger-random (what digits mean): NDCG@10" in " ".join(capsys.readouterr().out.split())
    assert (tmp_path / "out" / "trials" / "tiger-random-seed0.npz").is_file()
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    (one,) = summary["claims"]
    assert one["difference"]["mean"] == pytest.approx(
        summary["rows"]["tiger"]["NDCG@10"]["mean"] - summary["rows"]["tiger-random"]["NDCG@10"]["mean"]
    )
    assert f"- {one['said']}\n" in (tmp_path / "out" / "report.md").read_text()
    assert "What was claimed" in (tmp_path / "out" / "report.html").read_text()
    assert main([*line, "--plan"]) == 0
    assert "\n0 trials" in capsys.readouterr().out
    assert main([*line, "--tiger.dropout", "0.2"]) == 2
    assert "--tiger.dropout was 0.1 and is now 0.2" in capsys.readouterr().err
    costs = estimate(request(Data(log), ["tiger-random"], [0], {"tiger": SMALL}, 2), tmp_path / "other")
    assert [cost.row for cost in costs] == ["popularity", "counts", "tiger-random"]
