"""The twenty cells of a human-centred evaluation in their five dimensions, and the one number that is made of them.

After HELM, arXiv 2601.19197 (Mehta 2026): explanations, intent, interaction, trust and fairness, each from 1 to 5. What
can be measured without people is; all other cells stay empty, and are named, unless a file of ratings fills them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lerl.llm.audit.ratings import HIGHEST, LOWEST, Rated

DIMENSIONS = {
    "intent alignment": ("explicit intent", "implicit intent", "clarification", "goal completion"),
    "explanation quality": ("informativeness", "personalisation", "faithfulness", "actionability"),
    "interaction naturalness": ("coherence", "fluency", "verbosity", "adaptability"),
    "trust and transparency": ("uncertainty", "consistency", "source attribution", "limitations"),
    "fairness and diversity": ("popularity bias", "demographic equity", "catalog coverage", "intra-list diversity"),
}
"""Four cells of each."""

CELLS = tuple(cell for cells in DIMENSIONS.values() for cell in cells)


@dataclass(frozen=True)
class Measure:
    """One cell that was measured automatically.

    Attributes:
        share: in [0, 1], from which the score is made: 1 + 4 * share. said: what was measured, in words with figures.
    """

    share: float
    said: str

    @property
    def score(self) -> float:
        """From 1 to 5."""
        return LOWEST + (HIGHEST - LOWEST) * min(max(self.share, 0.0), 1.0)


@dataclass(frozen=True)
class Cell:
    """One of twenty.

    Attributes:
        name, dimension: see `DIMENSIONS`. score: from 1 to 5, None where it is empty. source: "measured", "rated" or
            "empty". said: what was measured, or by whom it was rated, in words. rated: the ratings, None without.
    """

    name: str
    dimension: str
    score: float | None
    source: str
    said: str
    rated: Rated | None = None


@dataclass(frozen=True)
class HumanCentred:
    """All cells.

    Attributes:
        cells: the twenty. scores: of each dimension, the mean of its cells that are not empty; None where all are.
        hcs_auto: geometric mean of the dimensions that have a score, from 1 to 5; None where none has.
        empty: names of the empty cells. missing: names of dimensions without a score, which hcs_auto leaves out.
    """

    cells: tuple[Cell, ...]
    scores: Mapping[str, float | None]
    hcs_auto: float | None
    empty: tuple[str, ...]
    missing: tuple[str, ...]


def human_centred(measured: Mapping[str, Measure], rated: Mapping[str, Rated] | None = None) -> HumanCentred:
    """Cells from what was measured and what was rated; where a cell was both, the measurement is its score."""
    cells = tuple(
        _cell(name, dimension, measured.get(name), (rated or {}).get(name))
        for dimension, names in DIMENSIONS.items()
        for name in names
    )
    scores = {dimension: _mean([c.score for c in cells if c.dimension == dimension]) for dimension in DIMENSIONS}
    return HumanCentred(
        cells,
        scores,
        geometric_mean([score for score in scores.values() if score is not None]),
        tuple(cell.name for cell in cells if cell.score is None),
        tuple(dimension for dimension, score in scores.items() if score is None),
    )


def geometric_mean(scores: list[float]) -> float | None:
    """(x_1 ... x_n)^(1/n) of scores of at least 0; 0 where one is 0, None of none.

    Raises:
        ValueError: a score is below 0.
    """
    if any(score < 0 for score in scores):
        raise ValueError(f"scores must be at least 0, given {min(scores)}")
    if not scores:
        return None
    return 0.0 if min(scores) == 0 else float(np.exp(np.log(scores).mean()))


def _cell(name: str, dimension: str, measure: Measure | None, rated: Rated | None) -> Cell:
    if measure is not None and np.isfinite(measure.share):
        return Cell(name, dimension, measure.score, "measured", measure.said, rated)
    if rated is not None:
        many = f"raters: {rated.raters}, items: {rated.items}"
        known = rated.icc_single is not None and rated.icc_mean is not None
        agree = f", ICC(2,1) {rated.icc_single:.2f}, ICC(2,k) {rated.icc_mean:.2f}" if known else ""
        return Cell(name, dimension, rated.score, "rated", f"{many}{agree}", rated)
    return Cell(name, dimension, None, "empty", "nothing was measured or rated")


def _mean(scores: list[float | None]) -> float | None:
    there = [score for score in scores if score is not None]
    return float(np.mean(there)) if there else None
