"""The report page: what it says, and how it behaves in a browser."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import lerl
from lerl.cli.main import main
from lerl.files import RunError
from lerl.report.bootstrap import Summary
from lerl.report.page import charts, words
from lerl.report.page.build import report
from lerl.report.page.people import compare_people
from lerl.report.page.replay import read_replay

WORLD: dict[str, Any] = {
    "data": {"synthetic": {"users": 120, "items": 60, "categories": 5, "dim": 4}},
    "env": {"max_steps": 12, "slate_size": 3},
    "planner": {"clusters": 5, "size": 2, "sessions": 0},
    "train": {"steps": 0},
    "evaluation": {"users": 30, "bootstrap": 200, "keep_sessions": 12},
}
AGENTS = ["boredom+greedy", "flat+greedy", "random", "privileged"]
EVIL = '</script><img src="http://127.0.0.1:9/x" onerror="window.hacked=1"><b>bold</b> & "quoted"'
CHROMIUM = os.environ.get("LERL_TEST_CHROMIUM") or shutil.which("chromium")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> lerl.Run:
    return lerl.train("quickstart", tmp_path_factory.mktemp("page") / "run", agents=AGENTS, **WORLD)


@pytest.fixture(scope="module")
def page(run: lerl.Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run whose titles are somebody's attempt to break it."""
    copy = tmp_path_factory.mktemp("evil") / "run"
    shutil.copytree(run.path, copy)
    titles = pl.read_parquet(copy / "titles.parquet").with_columns(title=pl.lit(EVIL) + pl.col("title"))
    titles.write_parquet(copy / "titles.parquet")
    return report([copy], copy / "report.html", bootstrap=200)


def interval(mean: float, low: float, high: float) -> Any:
    return {"mean": mean, "low": low, "high": high}


def summary(ratio: Any) -> Summary:
    """Two agents, and the ratio of the first to the second."""
    numbers = {"T_int": interval(5, 4, 6), "satisfaction_mean": interval(0.5, 0.4, 0.6)}
    difference = {"a": "mine+ppo", "b": "flat+ppo", "metric": "R_cum", **interval(1, 0, 2), "ratio": ratio["mean"]}
    ends = {"ratio_low": ratio["low"], "ratio_high": ratio["high"]}
    agents = {"mine+ppo": {"R_cum": interval(4, 3, 5)} | numbers, "flat+ppo": {"R_cum": interval(3, 2, 4)} | numbers}
    found: Any = {"users": 10, "seeds": 1, "agents": agents, "differences": [difference | ends]}
    return found


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (interval(1.3, 1.1, 1.5), "more than each of the 1 other agents"),
        (interval(1.1, 0.9, 1.3), "cannot be told apart from flat+ppo"),
        (interval(0.8, 0.7, 0.9), "Clearly better: flat+ppo"),
    ],
)
def test_words_follow_the_interval(ratio: Any, said: str) -> None:
    (better, *_) = words.reading(summary(ratio), "mine+ppo", None)
    assert said in better.text


def test_the_page_speaks_of_what_could_be_used(run: lerl.Run) -> None:
    table = run.table().filter(pl.col("agent") != "privileged")
    assert words.leader(run.summary) == table[0, "agent"]
    assert words.runner_up(run.summary, table[0, "agent"]) == table[1, "agent"]
    assert words.leader(run.summary, "random") == "random"


def test_auto_gives_its_place_to_the_agent_that_it_chose() -> None:
    found = summary(interval(1.0, 1.0, 1.0))
    found["agents"] = {"auto": found["agents"]["mine+ppo"], "mine+ppo": found["agents"]["mine+ppo"]}
    assert words.leader(found) == "mine+ppo"


def test_groups_of_users_for_whom_an_agent_is_worse_are_found(run: lerl.Run, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "run")
    people = pl.read_parquet(run.path / "people.parquet")
    worse = people["user"].to_list()[:15]
    favourite = pl.when(pl.col("user").is_in(worse)).then(pl.lit("war")).otherwise(pl.lit("love"))
    people.with_columns(favourite=favourite).write_parquet(tmp_path / "run" / "people.parquet")
    results = run.results
    planted = pl.when(pl.col("agent") == "flat+greedy").then(0.0).when(pl.col("user").is_in(worse)).then(-1.0)
    noise = pl.Series(np.random.default_rng(0).normal(scale=0.1, size=results.episodes.height))
    episodes = results.episodes.with_columns(R_cum=planted.otherwise(2.0) + noise)
    changed = type(results)(**{**vars(results), "episodes": episodes})
    found = compare_people(changed, [tmp_path / "run"], "boredom+greedy", "flat+greedy", 500)
    by_name = {group.name: group for group in found.groups}
    war, love = (by_name[f"the favourite “{name}”"] for name in ("war", "love"))
    assert war.users == 15
    assert war.difference["high"] is not None
    assert war.difference["high"] < -0.5
    assert love.difference["mean"] == pytest.approx(2.0, abs=0.2)
    assert found.shares == (0.5, 0.0, 0.5)
    assert (
        "clearly worse for users with the favourite “war”"
        in words.reading(run.summary, "boredom+greedy", found)[-1].text
    )


def test_the_replay_is_what_was_kept_and_fits_its_bound(run: lerl.Run) -> None:
    found = read_replay({0: run.path}, AGENTS, ["topic 1"], run.episodes)
    assert found is not None
    assert (found.kept, found.shown) == (12, 12)
    slots = pl.read_parquet(run.path / "sessions.parquet").filter(agent="random", user=found.data["people"][3][1])
    session = found.data["sessions"][AGENTS.index("random")][3]
    titles = dict(pl.read_parquet(run.path / "titles.parquet").select("item", "title").rows())
    replicate = found.data["people"][3][2]
    shown = [titles.get(item) for item in slots.filter(replicate=replicate)["item"].to_list()]
    assert [found.data["items"][item][0] for step in session["i"] for item in step] == shown
    small = read_replay({0: run.path}, AGENTS, ["topic 1"], run.episodes, most=len(found.packed) // 2)
    assert small is not None
    assert len(small.packed) <= len(found.packed) // 2
    assert 0 < small.shown < 12


def test_axes_have_round_ticks_and_hold_the_values() -> None:
    axis = charts.nice_axis([0.13, 17.2])
    assert axis.low <= 0.13 < 17.2 <= axis.high
    assert axis.ticks == [0.0, 5.0, 10.0, 15.0, 20.0]
    assert charts.nice_axis([2.0, 2.0]).low < 2 < charts.nice_axis([2.0, 2.0]).high


def test_the_page_is_the_same_for_the_same_run(run: lerl.Run, tmp_path: Path) -> None:
    one, other = (report([run.path], tmp_path / name, bootstrap=200).read_bytes() for name in ("a.html", "b.html"))
    assert one == other
    assert len(one) < 5_000_000


def test_the_command_writes_a_page_and_refuses_what_it_cannot_show(
    run: lerl.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(run.path), "--out", str(tmp_path / "a.html"), "--bootstrap", "100"]) == 0
    assert (tmp_path / "a.html").is_file()
    assert main(["report", str(run.path), "--out", str(tmp_path / "a")]) == 2
    assert "name ends in .html" in capsys.readouterr().err
    assert main(["report", str(run.path), "--reference", "nobody"]) == 2
    assert "no agent 'nobody'" in capsys.readouterr().err
    assert main(["report", str(tmp_path)]) == 2
    assert "is not a run folder" in capsys.readouterr().err


def test_a_run_without_kept_sessions_has_a_page_without_replay(run: lerl.Run, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "run")
    for name in ("sessions", "hidden", "titles", "people"):
        (tmp_path / "run" / f"{name}.parquet").unlink()
    text = report([tmp_path / "run"], tmp_path / "a.html", bootstrap=100).read_text()
    assert "Session replay" not in text
    (tmp_path / "run" / "config.yaml").write_text("agents: [")
    with pytest.raises(RunError):
        report([tmp_path / "run"], tmp_path / "a.html")


DAMAGE: dict[str, Any] = {
    "sessions": pl.col("reward").map_batches(lambda column: column * float("nan"), pl.Float64),
    "hidden": pl.lit(float("inf")).alias("satisfaction"),
    "titles": pl.lit(None).alias("categories"),
    "people": pl.lit("many").alias("known"),
}


@pytest.mark.parametrize("name", list(DAMAGE))
def test_a_damaged_table_is_named_with_what_writes_it_anew(run: lerl.Run, tmp_path: Path, name: str) -> None:
    shutil.copytree(run.path, tmp_path / "run")
    path = tmp_path / "run" / f"{name}.parquet"
    pl.read_parquet(path).with_columns(DAMAGE[name]).write_parquet(path)
    with pytest.raises(RunError, match=r"damaged .* lerl evaluate "):
        report([tmp_path / "run"], tmp_path / "a.html", bootstrap=100)
    path.unlink()
    if name == "hidden":  # without the others there is no replay, or no groups
        with pytest.raises(RunError, match=r"is missing; .* lerl evaluate "):
            report([tmp_path / "run"], tmp_path / "a.html", bootstrap=100)


def test_a_number_that_is_missing_is_refused(run: lerl.Run, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "run")
    path = tmp_path / "run" / "episodes.parquet"
    episodes = pl.read_parquet(path)
    first = pl.int_range(pl.len()) == 0
    episodes.with_columns(R_cum=pl.when(first).then(float("nan")).otherwise("R_cum")).write_parquet(path)
    with pytest.raises(RunError, match=r"episodes.parquet is damaged"):
        report([tmp_path / "run"], tmp_path / "a.html", bootstrap=100)


class Seen:
    """A page in a browser, and whatever it should not have done."""

    def __init__(self, browser: Any, page: Path, place: str = "", **how: Any) -> None:
        self.page = browser.new_page(**({"viewport": {"width": 1280, "height": 900}} | how))
        self.wrong: list[str] = []
        self.page.on("console", lambda message: self.wrong.append(message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda one: None if one.url.startswith("file:") else self.wrong.append(one.url))
        self.page.goto(page.as_uri() + place)

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here; name one in LERL_TEST_CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_renders_without_errors_requests_or_overflow(browser: Any, page: Path, width: int, scheme: str) -> None:
    seen = Seen(browser, page, viewport={"width": width, "height": 900}, color_scheme=scheme)
    seen.page.wait_for_selector("#app:not([hidden])")
    for part in ("words", "table", "differences", "people", "sessions", "exposure", "replay", "basis"):
        assert seen.page.locator(f"#{part} h2").is_visible()
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
    assert seen.wrong == []


def test_replay_steps_by_button_and_key_and_says_where_it_is(browser: Any, page: Path) -> None:
    seen = Seen(browser, page)
    seen.page.wait_for_selector("#app:not([hidden])")
    first = seen.text("#one .slate")
    seen.page.click("#on")
    assert seen.text("#at").startswith("2 of")
    assert seen.text("#one .slate") != first
    seen.page.locator("#replay h2").scroll_into_view_if_needed()
    seen.page.keyboard.press("Escape")
    seen.page.evaluate("document.activeElement.blur()")
    seen.page.keyboard.press("ArrowLeft")
    assert seen.text("#at").startswith("1 of")
    assert seen.text("#one .slate") == first
    person = seen.page.input_value("#person")
    seen.page.keyboard.press("j")
    assert seen.page.input_value("#person") != person
    assert "step 1 of" in seen.page.text_content("#said")
    assert "satisfaction" in seen.text("#one .secret")
    assert seen.wrong == []


def test_a_link_leads_to_a_step_of_two_agents(browser: Any, page: Path) -> None:
    seen = Seen(browser, page)
    seen.page.wait_for_selector("#app:not([hidden])")
    seen.page.select_option("#agent", label="random")
    seen.page.select_option("#beside", label="boredom+greedy")
    seen.page.click("#on")
    there, shown = seen.page.evaluate("location.hash"), seen.text(".sides")
    again = Seen(browser, page, there)
    again.page.wait_for_selector("#app:not([hidden])")
    assert again.text(".sides") == shown
    assert (again.text("#one h3"), again.text("#two h3")) == ("random", "boredom+greedy")
    assert "PLAN" in again.text("#two").upper()
    nonsense = Seen(browser, page, "#replay?agent=nobody&step=x&person=9-9-9&beside=<b>")
    nonsense.page.wait_for_selector("#app:not([hidden])")
    assert nonsense.wrong == again.wrong == []


def test_titles_stay_text(browser: Any, page: Path) -> None:
    seen = Seen(browser, page)
    seen.page.wait_for_selector("#app:not([hidden])")
    assert EVIL in seen.text("#one .slate")
    assert seen.page.evaluate("window.hacked") is None
    assert seen.page.locator("#one img, #one .slate b").count() == 0
    assert seen.wrong == []


def test_it_reads_without_a_script(browser: Any, page: Path) -> None:
    seen = Seen(browser, page, java_script_enabled=False)
    assert not seen.page.locator("#app").is_visible()
    assert seen.page.locator("#plain table").first.is_visible()
    assert EVIL in seen.text("#plain table")
    assert seen.page.locator("svg[role=img]").count() > 10
    assert seen.wrong == []


def test_what_is_drawn_is_also_said(browser: Any, page: Path) -> None:
    seen = Seen(browser, page)
    seen.page.wait_for_selector("#app:not([hidden])")
    unsaid = "svg:not([aria-label]):not([aria-hidden]), select:not(label select), button:not([aria-label]):empty"
    assert seen.page.locator(unsaid).count() == 0
    assert seen.page.locator("table th:not([scope])").count() == 0
    assert seen.page.evaluate("document.documentElement.lang") == "en"
