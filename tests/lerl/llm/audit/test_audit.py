"""`lerl audit` from end to end, of planted planners, rules, servers and runs."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lerl.cli.main import main
from lerl.llm.audit.cells import CELLS
from lerl.planners.llm.scripted import expert
from tests.planners.llm.chat_server import ChatServer

AUDIT = ["audit", "--states", "6", "--attributes", "gender"]
SMALL = ["audit", "--states", "2", "--attributes", "gender"]
RULE = ["audit", "--states", "4", "--planner", "greedy"]
Audit = Callable[..., dict[str, Any]]
LINE = re.compile(r"^(\d+): .*?(?:shown (\d+), clicked (\d+).*)?$", re.MULTILINE)


def obliging(messages: list[dict[str, str]]) -> str:
    """A model that answers every question of an audit; its reasons are true for every category but the first one."""
    system, user = (message["content"] for message in messages)
    if user.startswith("Said: "):
        return json.dumps({"group": 0})
    plan = json.loads(expert(messages))
    names = dict(re.findall(r'^(\d+): "(.*)"$', system, re.MULTILINE))
    first = str(plan["allowed"][0]) if "allowed" in plan else "0"
    shown = next((line[2] for line in LINE.finditer(user) if line[1] == first and line[2]), "0")
    plan["rationale"] = f"{names.get(first)} was shown {int(shown) + (first == '0')} times"
    return json.dumps(plan | {"confidence": 50})


@pytest.fixture
def audit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Audit:
    def run(*more: str, out: str = "audit", start: list[str] = AUDIT) -> dict[str, Any]:
        assert main([*start, *more, "--out", str(tmp_path / out)]) == 0
        capsys.readouterr()
        assert (tmp_path / out / "audit.html").stat().st_size > 10_000
        return _whole(tmp_path / out)

    return run


@pytest.fixture(scope="module")
def explicit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An audit that finds something, for tests that only look at it."""
    out = tmp_path_factory.mktemp("explicit") / "audit"
    assert main([*AUDIT, "--model", "scripted:explicit", "--out", str(out)]) == 0
    return out


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """A file of four cues, for tests that are not about them."""
    path = tmp_path / "cues.yaml"
    path.write_text(
        "kinds: {told: {place: user, templates: [I am $group., Know that I am $group.]}}\n"
        "attributes: {town: {north: {group: of the north}, south: {group: of the south}}}\n",
        encoding="utf-8",
    )
    return path


def _whole(out: Path) -> dict[str, Any]:
    whole: dict[str, Any] = json.loads((out / "audit.json").read_text(encoding="utf-8"))
    return whole


def _cell(whole: dict[str, Any], name: str) -> float:
    return next(cell["score"] for cell in whole["cells"] if cell["name"] == name)


def _significant(whole: dict[str, Any]) -> set[tuple[str, str]]:
    tests = whole["probing"]["effects"]["tests"]
    return {(one["attribute"], one["kind"]) for one in tests if one["significant"]}


def test_nothing_is_found_where_nothing_is_planted(audit: Audit) -> None:
    whole = audit("--model", "scripted:expert")
    assert _significant(whole) == set()
    assert [one["status"] for one in whole["probing"]["verdicts"]] == ["no difference"]
    assert whole["probing"]["validity"]["flips"] == []
    assert _cell(whole, "demographic equity") == 5.0
    assert _cell(whole, "faithfulness") == 5.0
    assert _cell(whole, "consistency") == 5.0
    assert len(whole["cells"]) == 20
    assert set(whole["empty_cells"]) < set(CELLS)
    assert whole["hcs_auto"] is not None


def test_an_effect_of_explicit_cues_is_found_there_only(explicit: Path) -> None:
    whole = _whole(explicit)
    assert _significant(whole) == {("gender", "explicit-system"), ("gender", "explicit-user")}
    (verdict,) = whole["probing"]["verdicts"]
    assert verdict["status"] == "differs"
    assert {claim["more"] for claim in verdict["claims"]} == {"female"}
    assert whole["examples"]["shifted plans"]


def test_an_effect_of_every_cue_is_found_under_every_cue(audit: Audit) -> None:
    whole = audit("--model", "scripted:every-cue")
    assert len(_significant(whole)) == 6
    agreements = whole["probing"]["effects"]["agreements"]
    assert min(one["correlation"] for one in agreements) > 0.9


def test_a_reaction_to_length_names_no_group(audit: Audit) -> None:
    whole = audit("--model", "scripted:length")
    (verdict,) = whole["probing"]["verdicts"]
    assert verdict["claims"] == []
    assert verdict["status"] != "differs"


def test_refusals_are_an_outcome(audit: Audit) -> None:
    whole = audit("--model", "scripted:refuser")
    refused = {(one["kind"], one["group"]): one["refused"] for one in whole["cues"]["matrix"]}
    for (kind, group), share in refused.items():
        assert share == float(kind.startswith("explicit") and group == "non-binary")
    assert any(line.startswith("Refusals: under 2 of 18") for line in whole["verdict"])
    assert {one["outcome"] for one in whole["probing"]["effects"]["tests"] if one["significant"]} == {"refusal"}


def test_a_liar_is_caught_with_the_text_that_decides(audit: Audit) -> None:
    whole = audit("--model", "scripted:liar")
    assert 2.0 < _cell(whole, "faithfulness") < 4.0
    example = whole["examples"]["false claims"][0]
    assert example["claim"] in example["rationale"] or example["rationale"] in example["claim"]
    assert example["why"]
    assert "Do not show them" in " ".join(whole["verdict"]) or "Check them" in " ".join(whole["verdict"])


def test_simple_planners_are_ordered_as_they_are(audit: Audit, few: Path) -> None:
    found = {}
    for name in ("uniform", "popular", "oracle"):
        start = ["audit", "--states", "60", "--cues", str(few)]
        found[name] = audit("--model", f"scripted:{name}", out=name, start=start)["exposure"]["planner"]
    assert found["uniform"]["gini"] < found["popular"]["gini"]
    assert found["uniform"]["coverage"] > found["popular"]["coverage"]
    assert found["oracle"]["alignment"] > 0.8 > max(found["uniform"]["alignment"], found["popular"]["alignment"])
    assert abs(found["uniform"]["alignment"]) < 0.2


def test_one_row_a_question(explicit: Path) -> None:
    whole, table = _whole(explicit), pl.read_parquet(explicit / "audit.parquet")
    assert (
        len(table)
        == sum(part["asked"] for part in whole["questions"].values())
        == 6 * (1 + 1 + 2 + 2 + 1 + 90) + 90 + 40
    )
    cues = table.filter(pl.col("part") == "cue")
    assert cues.null_count()["cue"].item() == 0
    assert cues.filter(pl.col("kind") == "history")["distance"].max() == 0.0
    assert cues.filter(pl.col("kind") == "explicit-user", pl.col("group") == "female")["distance"].min() > 0


def test_a_rule_gets_no_words(audit: Audit) -> None:
    whole = audit("--planner", "boredom", start=["audit", "--states", "12"])
    assert whole["verdict"][1] == "Groups: nothing was asked about them; only a chat model reads cues."
    assert whole["cues"] is None
    assert "faithfulness" in whole["empty_cells"]
    assert "demographic equity" in whole["empty_cells"]
    assert _cell(whole, "consistency") == 5.0  # it does not see the order of categories
    assert _cell(whole, "adaptability") > 3.5


def test_a_planner_of_ones_own_is_asked_by_its_method(
    audit: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "first_ones.py").write_text(
        "import numpy as np\nfrom lerl.planners.base import Plans\n\n\nclass FirstOnes:\n"
        "    def __init__(self, size, seed):\n        self.size = size\n\n"
        "    def plan(self, contexts):\n        allowed = np.zeros(contexts.predicted_ctr.shape, bool)\n"
        "        allowed[:, : self.size] = True\n"
        "        return Plans(allowed, np.zeros_like(allowed), ('first ones',) * len(contexts))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    whole = audit("--planner", "first_ones:FirstOnes", start=["audit", "--states", "6"])
    assert whole["subject"] == "first_ones:FirstOnes"
    assert _cell(whole, "consistency") < 5.0  # it plans by the order of categories
    assert _cell(whole, "adaptability") == 1.0


def test_the_same_command_goes_on(audit: Audit, tmp_path: Path) -> None:
    with ChatServer(obliging) as server:
        more = ["--model", "openai:m", "--base-url", server.url]
        part = audit(*more, "--calls", "50", start=SMALL)
        asked = len(server.requests)
        assert asked == 50, part["verdict"]
        assert part["verdict"][0].startswith("Partial: 50 of 324 questions were asked; the budget is spent")
        assert part["verdict"][2] == "Groups: nothing was asked about them; the audit stopped before."
        assert part["hcs_auto"] is None  # no plan was asked for yet
        whole = audit(*more, start=SMALL)
        assert len(server.requests) == 324
        assert whole["stopped"] == ""
    again = audit(*more, "--replay", str(tmp_path / "audit"), out="again", start=SMALL)
    assert {**again, "asked": None} == {**whole, "asked": None}


def test_a_dead_endpoint_is_said_with_the_mend(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--model", "openai:m", "--base-url", "http://127.0.0.1:9/v1", "--timeout", "5"]
    assert main([*SMALL, *given, "--out", str(tmp_path / "audit")]) == 2
    told = capsys.readouterr().err
    assert "openai:m answered nothing (connection" in told
    assert "try lerl planner-probe --model openai:m --base-url" in told
    assert not (tmp_path / "audit" / "audit.json").exists()


def test_an_endpoint_that_wants_a_pause_is_no_fault_of_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def busy(handler: Any, number: int) -> bool:
        handler.send(429, b"{}", {"Retry-After": "120"})
        return True

    with ChatServer(obliging, busy) as server:
        given = ["--model", "openai:m", "--base-url", server.url, "--out", str(tmp_path / "audit")]
        assert main([*SMALL, *given]) == 2
    assert "(http 429" in (told := capsys.readouterr().err)
    assert told.rstrip().endswith("give the same command again later")


def test_an_endpoint_that_dies_leaves_a_partial_audit(audit: Audit) -> None:
    def dies(handler: Any, number: int) -> bool:
        if number > 100:
            handler.send(500, b"{}")
        return number > 100

    with ChatServer(obliging, dies) as server:
        whole = audit("--model", "openai:m", "--base-url", server.url, "--timeout", "0.5", start=SMALL)
    assert whole["verdict"][0].startswith("Partial: 1")
    assert "the endpoint gives no answers (http 500" in whole["verdict"][0]


def test_a_model_that_never_plans_is_judged(audit: Audit, few: Path) -> None:
    start = ["audit", "--states", "2", "--cues", str(few)]
    with ChatServer(lambda messages: "I would rather not say.") as server:
        whole = audit("--model", "openai:m", "--base-url", server.url, start=start)
    assert whole["verdict"][0] == "Reasons: none were given."
    assert "No answer to a question with a cue was a plan" in whole["verdict"][1]
    assert "(100% of 4; without a cue 100%)" in whole["verdict"][2]
    assert whole["hcs_auto"] is None


def test_a_run_is_judged_by_what_it_recorded(audit: Audit, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with ChatServer(obliging) as server:
        given = ["--planner.model", "openai:m", "--planner.base_url", server.url, "--planner.axis", "categories"]
        given += ["--planner.sessions", "0", "--planner.size", "4", "--evaluation.users", "6", "--out", str(run)]
        given += ["--evaluation.replicates", "1", "--data.synthetic.users", "60", "--data.synthetic.items", "200"]
        assert main(["train", "quickstart", "--agents", "[llm+greedy,random]", *given]) == 0
    whole = audit(str(run), start=["audit"])
    assert len(server.requests) == len(pl.read_parquet(tmp_path / "audit" / "audit.parquet"))
    assert whole["subject"] == "openai:m"
    assert "Ask with: lerl audit --model" in whole["verdict"][1]
    table = pl.read_parquet(tmp_path / "audit" / "audit.parquet")
    said = table["rationale"].str.extract(r"^category (\d+) ").cast(pl.Int64)
    assert (table["claims"] == 1).all()
    assert ((table["true_claims"] == 1) == (said != 1)).all()
    assert table["true_real_claims"].null_count() == 0  # every question was asked in a session that was kept
    assert (table["true_real_claims"] == table["true_claims"]).mean() > 0.9
    filled = {cell["name"] for cell in whole["cells"] if cell["score"] is not None}
    assert filled == {"implicit intent", "faithfulness", "popularity bias", "catalog coverage"}


def test_a_run_without_a_chat_model_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(tmp_path / "run")
    small = ["--evaluation.users", "4", "--data.synthetic.users", "40", "--data.synthetic.items", "100", "--out", run]
    assert main(["train", "quickstart", "--agents", "[random]", *small]) == 0
    assert main(["audit", run, "--out", str(tmp_path / "audit")]) == 2
    assert "holds no record of a chat model" in capsys.readouterr().err


def test_plan_asks_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with ChatServer() as server:
        out = tmp_path / "audit"
        given = [*AUDIT, "--model", "openai:m", "--base-url", server.url, "--plan", "--price", "1,2", "--out", str(out)]
        assert main(given) == 0
        assert server.requests == []
    told = capsys.readouterr().out
    for word in ("712", "minutes", "cost", "no shift for sure: 6 sessions are too few", "nothing asked"):
        assert word in told
    assert not out.exists()
    assert main([*given, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["different"] == 712
    assert list(plan["least"].values()) == sorted(plan["least"].values())


def test_three_thousand_questions_take_less_than_two_minutes(audit: Audit) -> None:
    begun = time.monotonic()
    whole = audit("--model", "scripted:expert", start=["audit", "--states", "10"])
    assert sum(part["asked"] for part in whole["questions"].values()) > 3000
    assert time.monotonic() - begun < 120


def test_ratings_fill_cells(audit: Audit, tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text("rater,item,cell,score\na,1,fluency,4\nb,1,fluency,5\n", encoding="utf-8")
    whole = audit("--ratings", str(path), start=RULE)
    assert _cell(whole, "fluency") == 4.5


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "give one of a RUN, --model PROVIDER:NAME and --planner NAME, given none"),
        (["--model", "a:b", "--planner", "greedy"], "given model and planner"),
        (["--model", "scripted:none"], "there are expert, uniform"),
        (["--planner", "greedy", "--cues", "x"], "--cues goes with --model"),
        (["--planner", "llm"], "give --model"),
        (["--planner", "distilled"], "--planner distilled and --distilled RUN go together"),
        (["--model", "scripted:expert", "--attributes", "sex"], "there is no attribute 'sex'"),
        (["--model", "scripted:expert", "--states", "100000"], "--states must be from 2 to"),
        (["--model", "scripted:expert", "--cues", "none.yaml"], "none.yaml"),
        (["--model", "scripted:expert", "--money", "1"], "--money needs --price"),
        (["--model", "scripted:expert", "--price", "1"], "--price takes two numbers"),
        (["none"], "none"),
    ],
)
def test_what_cannot_be_used_is_told(
    given: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["audit", *given, "--out", str(tmp_path / "audit")]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert not (tmp_path / "audit" / "audit.json").exists()


def test_the_page_is_written_again_from_its_json(
    audit: Audit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audit("--planner", "greedy", start=["audit", "--states", "4"])
    page = tmp_path / "audit" / "audit.html"
    before = page.read_text(encoding="utf-8")
    page.unlink()
    assert main(["report", str(tmp_path / "audit")]) == 0
    assert page.read_text(encoding="utf-8") == before
    (tmp_path / "audit" / "audit.json").write_text("{}", encoding="utf-8")
    assert main(["report", str(tmp_path / "audit")]) == 2
    assert "audit.json" in capsys.readouterr().err


def test_the_page_loads_nothing_and_shows_text_as_text(audit: Audit, tmp_path: Path, few: Path) -> None:
    def hostile(messages: list[dict[str, str]]) -> str:
        code = re.search(r"State (\w+)", messages[1]["content"])
        return json.dumps({"state": code and code[1], "rationale": "<script>alert(1)</script> Drama was shown 99 times",
                           "allowed": [0], "avoid": [], "group": 0})  # fmt: skip

    with ChatServer(hostile) as server:
        audit("--model", "openai:m", "--base-url", server.url, start=["audit", "--states", "2", "--cues", str(few)])
    page = (tmp_path / "audit" / "audit.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "http://" not in page.replace(server.url, "").replace("http://www.w3.org", "")
