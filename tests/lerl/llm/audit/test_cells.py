"""The twenty cells: scores, empty cells, the geometric mean; and ratings with their intraclass correlation."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lerl.llm.audit.cells import CELLS, DIMENSIONS, Measure, geometric_mean, human_centred
from lerl.llm.audit.ratings import RatingsError, intraclass, read_ratings

SHROUT_FLEISS = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]


def test_there_are_five_dimensions_of_four_cells() -> None:
    assert [len(cells) for cells in DIMENSIONS.values()] == [4] * 5
    assert len(set(CELLS)) == 20


def test_the_geometric_mean_shows_a_collapse() -> None:
    assert geometric_mean([5, 5, 5, 5, 1]) == pytest.approx(3.62, abs=0.005)
    assert geometric_mean([4.0]) == 4.0
    assert geometric_mean([5, 0, 5]) == 0.0
    assert geometric_mean([]) is None
    with pytest.raises(ValueError, match="at least 0"):
        geometric_mean([1, -1])


@given(st.lists(st.floats(1, 5), min_size=1, max_size=8))
def test_the_geometric_mean_is_between_the_ends_and_blind_to_order(scores: list[float]) -> None:
    found = geometric_mean(scores)
    assert found is not None
    assert min(scores) - 1e-9 <= found <= max(scores) + 1e-9
    assert geometric_mean(scores[::-1]) == pytest.approx(found)


def test_empty_cells_are_named_and_left_out() -> None:
    whole = human_centred({"faithfulness": Measure(0.5, "half"), "consistency": Measure(1.0, "all")})
    assert whole.scores["explanation quality"] == 3.0
    assert whole.scores["trust and transparency"] == 5.0
    assert whole.hcs_auto == pytest.approx(15**0.5)
    assert len(whole.empty) == 18
    assert set(whole.missing) == {"intent alignment", "interaction naturalness", "fairness and diversity"}


@pytest.mark.parametrize(("share", "score"), [(-0.4, 1.0), (0.0, 1.0), (0.25, 2.0), (1.0, 5.0), (1.7, 5.0)])
def test_shares_become_scores_from_1_to_5(share: float, score: float) -> None:
    assert Measure(share, "").score == score


def test_a_measure_that_is_no_number_leaves_the_cell_empty() -> None:
    assert "consistency" in human_centred({"consistency": Measure(float("nan"), "")}).empty


def _ratings(folder: Path, rows: str, header: str = "rater,item,cell,score") -> Path:
    path = folder / "ratings.csv"
    path.write_text(f"{header}\n{rows}", encoding="utf-8")
    return path


def test_ratings_fill_empty_cells_only(tmp_path: Path) -> None:
    path = _ratings(tmp_path, "a,1,fluency,4\nb,1,fluency,5\na,1,consistency,1\n")
    whole = human_centred({"consistency": Measure(1.0, "all")}, read_ratings(path, CELLS))
    by_name = {cell.name: cell for cell in whole.cells}
    assert (by_name["fluency"].score, by_name["fluency"].source) == (4.5, "rated")
    assert (by_name["consistency"].score, by_name["consistency"].source) == (5.0, "measured")
    assert by_name["consistency"].rated is not None


def test_intraclass_correlation_is_that_of_the_paper() -> None:
    single, mean = intraclass(np.array(SHROUT_FLEISS, float))
    assert single == pytest.approx(0.29, abs=0.005)  # Shrout and Fleiss 1979, table 4
    assert mean == pytest.approx(0.62, abs=0.005)
    assert intraclass(np.array([[1.0, 1.0], [5.0, 5.0]])) == (1.0, 1.0)
    assert intraclass(np.ones((3, 1))) == (None, None)
    assert intraclass(np.ones((3, 2))) == (None, None)


def test_intraclass_correlation_of_a_file(tmp_path: Path) -> None:
    rows = "".join(
        f"r{rater},i{item},coherence,{score / 2}\n"
        for item, scores in enumerate(SHROUT_FLEISS)
        for rater, score in enumerate(scores)
        if score >= 2
    )
    path = _ratings(tmp_path, rows)
    found = read_ratings(path, CELLS)["coherence"]
    assert (found.items, found.raters) == (6, 4)
    whole = np.array([row for row in SHROUT_FLEISS if min(row) >= 2], float) / 2
    assert (found.icc_single, found.icc_mean) == pytest.approx(intraclass(whole))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("a,1,fluency,6\n", "line 2: score must be a number from 1 to 5"),
        ("a,1,fluency,4\na,1,fluency,nan\n", "line 3: score must be"),
        ("a,1,charm,4\n", 'line 2: there is no cell "charm"'),
        ("a,1,fluency,4\na,1,fluency,4\n", "line 3: a rated 1 in fluency before"),
        ("a,1,fluency,4,5\n", "line 2: it has more values than columns"),
        (",1,fluency,4\n", "rater and item must be given"),
        ("", "holds no rating"),
    ],
)
def test_a_bad_file_of_ratings_is_told_by_line(tmp_path: Path, rows: str, said: str) -> None:
    with pytest.raises(RatingsError, match=said):
        read_ratings(_ratings(tmp_path, rows), CELLS)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(RatingsError, match="no column cell"):
        read_ratings(_ratings(tmp_path, "a,1,4\n", "rater,item,score"), CELLS)
    with pytest.raises(RatingsError, match='in "rater;item;cell;score"; it needs rater,item,cell,score, with commas'):
        read_ratings(_ratings(tmp_path, "a;1;fluency;4\n", "rater;item;cell;score"), CELLS)
    with pytest.raises(RatingsError, match="cannot be read"):
        read_ratings(tmp_path / "none.csv", CELLS)
