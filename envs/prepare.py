"""Named data sets and logs of your own: every row is checked, and a population is prepared from them."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from lerl.envs.logs.custom import Choices, read_own_logs
from lerl.envs.logs.dataset import DataSet
from lerl.envs.logs.goodbooks import read_goodbooks
from lerl.envs.logs.kuairand import read_kuairand
from lerl.envs.logs.kuairec import read_kuairec, read_kuairec_dense
from lerl.envs.logs.movielens import read_movielens
from lerl.envs.population import Population
from lerl.envs.schema import DataError, with_half
from lerl.envs.store import INTERACTIONS_FILE, OWN_LOGS, check_destination, new_folder, write_population
from lerl.envs.topics import unit_rows

if TYPE_CHECKING:
    from lerl.envs.fitting.latent import FittedPopulation

READERS: dict[str, Callable[[Path], DataSet]] = {
    "movielens": read_movielens,
    "goodbooks": read_goodbooks,
    "kuairand": read_kuairand,
    "kuairec": read_kuairec,
}
"""How each publisher's files are read, by the name of the format."""

DENSE_READERS: dict[str, Callable[[Path], DataSet]] = {"kuairec": read_kuairec_dense}
"""The same for data sets with a dense matrix, in which nearly every user met every item."""


SAMPLED_ITEMS = 20_000
"""Items, at most, by which it is checked that vectors differ enough to be clustered."""


@dataclass(frozen=True)
class PrepareReport:
    """What `prepare` made, and how well each side predicts held-out clicks of evaluation users.

    Attributes:
        name: the data set's name.
        users: how many users.
        items: how many items, without those that no user met.
        dropped_items: how many items no user met.
        interactions: how many interactions, both halves together.
        base_rate: share of interactions that are clicks.
        training_users: how many users to train on.
        evaluation_users: how many users for evaluation only.
        truth_auc: chance that the truth ranks a held-out click above a held-out non-click.
        knowledge_auc: the same for what a recommender may know.
        truth_calibration_error: see `lerl.envs.fitting.latent.calibration_error`.
        knowledge_calibration_error: the same for what a recommender may know.
        truth_mean_predicted: mean probability that the truth gives to held-out interactions.
        truth_held_out_rate: share of clicks among them.
        knowledge_mean_predicted: the same for what a recommender may know.
        knowledge_held_out_rate: share of clicks among its held-out interactions.
        correlation: of the two sides' log-odds over all items, see `lerl.envs.fitting.latent.agreement`.
        merged: how many interactions were left out because the user met the item in another row too.
        kinds: chance that each kind of feedback beside the click is ranked above its absence, by name.
        ordered: whether every interaction has its place in time, without which no dynamics can be fitted.
        directions: how many different directions either side's item vectors have at least, of the first SAMPLED_ITEMS.
    """

    name: str
    users: int
    items: int
    dropped_items: int
    interactions: int
    base_rate: float
    training_users: int
    evaluation_users: int
    truth_auc: float
    knowledge_auc: float
    truth_calibration_error: float
    knowledge_calibration_error: float
    truth_mean_predicted: float
    truth_held_out_rate: float
    knowledge_mean_predicted: float
    knowledge_held_out_rate: float
    correlation: float
    merged: int = 0
    kinds: Mapping[str, float] = field(default_factory=dict)
    ordered: bool = False
    directions: int = 0

    def rows(self) -> list[tuple[str, str]]:
        """Label and value, one pair per line to print."""
        return [
            ("data set", self.name),
            ("users", f"{self.users:,}"),
            ("of them to train on", f"{self.training_users:,}"),
            ("of them for evaluation", f"{self.evaluation_users:,}"),
            ("items", f"{self.items:,}"),
            ("items dropped, no user met them", f"{self.dropped_items:,}"),
            ("interactions", f"{self.interactions:,}"),
            *([("repeated interactions left out", f"{self.merged:,}")] if self.merged else []),
            ("base rate of clicks", f"{self.base_rate:.3f}"),
            *_fit_rows("truth", self.truth_auc, self.truth_calibration_error),
            ("truth predicts / held out", f"{self.truth_mean_predicted:.3f} / {self.truth_held_out_rate:.3f}"),
            *((f"truth AUC of {name}, held out", f"{auc:.3f}") for name, auc in self.kinds.items()),
            *_fit_rows("knowledge", self.knowledge_auc, self.knowledge_calibration_error),
            (
                "knowledge predicts / held out",
                f"{self.knowledge_mean_predicted:.3f} / {self.knowledge_held_out_rate:.3f}",
            ),
            ("correlation of truth and knowledge", f"{self.correlation:.3f}"),
        ]


def prepare(  # nine parameters, one for each flag of `lerl data prepare`
    format: str,
    folder: Path,
    out: Path,
    *,
    dim: int = 8,
    seed: int = 0,
    overwrite: bool = False,
    dense: bool = False,
    feedback: Mapping[str, float] | None = None,
    note: Callable[[str], object] | None = None,
) -> PrepareReport:
    """Read a data set, fit truth and knowledge, and write a folder for `load_population`: whole, or not at all.

    The same input gives the same files, byte for byte.

    Args:
        format: the data set's layout; one of READERS.
        folder: where its files are.
        out: where to write; absent or empty, unless `overwrite`.
        dim: length of the item vectors, 1 or more.
        seed: for the start of the fit, 0 or more.
        overwrite: replace a data set prepared before.
        dense: fit the truth to the dense matrix, in which nearly every user met every item, for `env.response`
            "lookup"; the formats of DENSE_READERS have one.
        feedback: kinds of feedback with weights above 0, the click first, for `env.feedback` "weighted"; kuairand has
            several kinds.
        note: called with each line on how columns were read, before the fit begins.

    Raises:
        DataError: the data cannot be used as they are; the message names file, row, column and what to do.
        FileExistsError: `out` is taken.
        OSError: the disk is full, or a file cannot be read or written.
        ValueError: an argument is out of range.
    """
    check_destination(out, overwrite=overwrite)
    data = _noted(read(format, folder, dense=dense, feedback=feedback), note)
    chosen = {**({"dense": True} if dense else {}), **({"feedback": dict(feedback)} if feedback else {})}
    settings = {"format": format, "dim": dim, "seed": seed, **chosen}
    return _write(data, out, settings, dim, seed, overwrite)


def import_logs(
    interactions: Path,
    items: Path | None,
    out: Path,
    *,
    choices: Choices | None = None,
    dim: int = 8,
    seed: int = 0,
    overwrite: bool = False,
    note: Callable[[str], object] | None = None,
) -> PrepareReport:
    """Read a log of your own, fit truth and knowledge, and write a folder, as `prepare` does with a named data set.

    Args:
        interactions: who met what: a CSV file with a header, or Parquet.
        items: titles and categories: the same; None if there is no such file.
        out: where to write; absent or empty, unless `overwrite`.
        choices: which column is what; guessed from the columns' names where not given.
        dim, seed, overwrite, note: see `prepare`.

    Raises:
        DataError, FileExistsError, OSError, ValueError: as `prepare` does.
    """
    check_destination(out, overwrite=overwrite)
    choices = choices or Choices()
    data = _noted(read_own_logs(interactions, items, choices), note)
    settings = {"format": OWN_LOGS, "dim": dim, "seed": seed, "choices": asdict(choices), "notes": data.notes}
    return _write(data, out, settings, dim, seed, overwrite)


def _noted(data: DataSet, note: Callable[[str], object] | None) -> DataSet:
    if note is not None:
        for line in data.notes:
            note(line)
    return data


def _write(
    data: DataSet, out: Path, settings: Mapping[str, Any], dim: int, seed: int, overwrite: bool
) -> PrepareReport:
    from lerl.envs.fitting.latent import fit_dense, fit_population

    _refuse_one_kind(data)
    log = with_half(data.log)
    if data.known is None:
        fitted = fit_population(data.name, data.catalog, data.log, weights=data.weights, dim=dim, seed=seed)
    else:
        log = log.with_columns(half=pl.lit("truth"))
        fitted = fit_dense(data.name, data.catalog, data.log, data.known, dim=dim, seed=seed)
    report = _report(data, fitted, ordered=log["position"].null_count() == 0)
    with new_folder(out, overwrite=overwrite) as partial:
        write_population(fitted.population, partial, about={"settings": settings, "report": asdict(report)})
        log.write_parquet(partial / INTERACTIONS_FILE)
    return report


def read(format: str, folder: Path, *, dense: bool = False, feedback: Mapping[str, float] | None = None) -> DataSet:
    """Read a data set, or with `dense` its dense matrix as the truth, and check every row; see `prepare`.

    Raises:
        DataError: the data cannot be used as they are; the message names file, row, column and what to do.
        ValueError: there is no such format, or it has no dense matrix or no such kinds of feedback.
    """
    if format not in READERS:
        raise ValueError(f"format must be one of {sorted(READERS)}, given {format!r}")
    if dense and format not in DENSE_READERS:
        raise ValueError(f"--dense is only for {' and '.join(DENSE_READERS)}, given --format {format}; leave it out")
    if feedback:
        return _read_kinds(format, Path(folder), feedback)
    return (DENSE_READERS if dense else READERS)[format](Path(folder))


def _read_kinds(format: str, folder: Path, feedback: Mapping[str, float]) -> DataSet:
    if format != "kuairand":
        raise ValueError(f"--feedback is only for kuairand, given --format {format}; leave it out")
    wrong = [weight for weight in feedback.values() if not 0 < weight < float("inf")]
    if wrong:
        raise ValueError(f"a weight of --feedback must be a number above 0, given {wrong[0]}")
    return read_kuairand(folder, feedback)


def _refuse_one_kind(data: DataSet) -> None:
    """Refuse a log in which all interactions are clicks, or none."""
    clicks, rows = int(data.log["click"].sum()), len(data.log)
    if clicks == rows:
        raise DataError(
            f"all {rows:,} interactions of {data.name} are clicks; what people were shown and did not click is "
            f"missing, and it is needed to estimate tastes: add it as rows whose click is 0, or give ratings and "
            f"a --click-from above the lowest"
        )
    if not clicks:
        raise DataError(
            f"none of the {rows:,} interactions of {data.name} is a click, and tastes are estimated from clicks: take "
            f"another column with --click, or give a lower --click-from"
        )


def _report(data: DataSet, fitted: "FittedPopulation", ordered: bool) -> PrepareReport:
    people = fitted.population
    training = people.training
    return PrepareReport(
        name=data.name,
        users=len(training),
        items=len(data.catalog),
        dropped_items=data.dropped_items,
        interactions=len(data.log),
        base_rate=float(data.log["click"].to_numpy().mean()),
        training_users=int(training.sum()),
        evaluation_users=int((~training).sum()),
        truth_auc=fitted.truth_fit.auc,
        knowledge_auc=fitted.knowledge_fit.auc,
        truth_calibration_error=fitted.truth_fit.calibration_error,
        knowledge_calibration_error=fitted.knowledge_fit.calibration_error,
        truth_mean_predicted=fitted.truth_fit.mean_predicted,
        truth_held_out_rate=fitted.truth_fit.base_rate,
        knowledge_mean_predicted=fitted.knowledge_fit.mean_predicted,
        knowledge_held_out_rate=fitted.knowledge_fit.base_rate,
        correlation=fitted.correlation,
        merged=data.merged,
        kinds={name: fit.auc for name, fit in fitted.kinds.items()},
        ordered=ordered,
        directions=directions(people),
    )


def directions(people: Population) -> int:
    """How many different directions the first SAMPLED_ITEMS item vectors have, of the side that has fewer."""
    sides = people.truth.item_vectors, people.knowledge.item_vectors[:, :-1]
    return min(len(np.unique(unit_rows(rows[:SAMPLED_ITEMS]).round(3), axis=0)) for rows in sides)


def _fit_rows(side: str, auc: float, error: float) -> tuple[tuple[str, str], ...]:
    return (f"{side} AUC, held out", f"{auc:.3f}"), (f"{side} calibration error", f"{error:.4f}")
