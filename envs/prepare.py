"""Named data sets and logs of your own: every row is checked, and a population is prepared from them."""

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field, replace
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
from lerl.envs.logs.parts import Asked
from lerl.envs.logs.sample import Sample, choose, count_items, of_users
from lerl.envs.population import Population
from lerl.envs.schema import SCHEMA, DataError, with_half
from lerl.envs.store import (
    INTERACTIONS_FILE,
    OWN_LOGS,
    check_destination,
    disk_errors,
    new_folder,
    scratch_folder,
    write_population,
)
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
class SampleReport:
    """Which users of a log were sampled, and what was gathered from all of them.

    Attributes:
        asked: how many users were asked for.
        rows_read: how many rows the log has.
        all_users: how many users it has, without those who met too few items.
        all_interactions: how many interactions these have, one for each pair of a user and an item.
        fitted_users: how many users the factor models were fitted to, the simulated ones among them.
        fitted_interactions: how many interactions these have.
    """

    asked: int
    rows_read: int
    all_users: int
    all_interactions: int
    fitted_users: int
    fitted_interactions: int

    def rows(self, report: "PrepareReport") -> list[tuple[str, str]]:
        """Label and value, one pair per line to print."""
        every = ", all there are" if report.users == self.all_users else ""
        return [
            ("rows read", f"{self.rows_read:,}"),
            ("rows kept, one of each user and item", f"{self.all_interactions:,}"),
            ("users in the log", f"{self.all_users:,}"),
            (
                "of them simulated",
                f"{report.users:,} of {self.asked:,} asked for{every} ({report.training_users:,} to train on, "
                f"{report.evaluation_users:,} for evaluation)",
            ),
            ("factor models fitted to", f"{self.fitted_interactions:,} interactions of {self.fitted_users:,} users"),
            ("popularity, item offsets, base rate", f"of all {self.all_users:,} users"),
        ]


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
        sample: where only a sample of users is simulated; `users` and `interactions` are then the sample's, and
            `base_rate`, `items`, `dropped_items` and `merged` the whole log's. None where all users are.
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
    sample: SampleReport | None = None

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
            *([] if self.sample is None else self.sample.rows(self)),
        ]

    def kept(self) -> dict[str, Any]:
        """All of it, as a prepared folder keeps it."""
        held = asdict(self)
        return held if self.sample is not None else {name: held[name] for name in held if name != "sample"}


def prepare(  # a parameter for each flag of `lerl data prepare`
    format: str,
    folder: Path,
    out: Path,
    *,
    dim: int = 8,
    seed: int = 0,
    overwrite: bool = False,
    dense: bool = False,
    feedback: Mapping[str, float] | None = None,
    users: int | None = None,
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
        users: how many users to simulate, 1 or more, drawn by a hash of their ids; None for all. See
            `lerl.envs.logs.sample` for what the other users are used for.
        note: called with each line on how columns were read, before the fit begins.

    Raises:
        DataError: the data cannot be used as they are; the message names file, row, column and what to do.
        FileExistsError: `out` is taken.
        OSError: the disk is full, or a file cannot be read or written.
        ValueError: an argument is out of range.
    """
    _check_users(users)
    check_destination(out, overwrite=overwrite)
    data = _noted(read(format, folder, dense=dense, feedback=feedback), note)
    chosen = {**({"dense": True} if dense else {}), **({"feedback": dict(feedback)} if feedback else {})}
    settings = {"format": format, "dim": dim, "seed": seed, **chosen}
    if users is not None:
        data, settings = _sampled(data, users), {**settings, "users": users}
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
    users: int | None = None,
    executor: Executor | None = None,
    note: Callable[[str], object] | None = None,
) -> PrepareReport:
    """Read a log of your own, fit truth and knowledge, and write a folder, as `prepare` does with a named data set.

    Args:
        interactions: who met what: a CSV file with a header, or Parquet.
        items: titles and categories: the same; None if there is no such file.
        out: where to write; absent or empty, unless `overwrite`.
        choices: which column is what; guessed from the columns' names where not given.
        dim, seed, overwrite, users, note: see `prepare`. With `users` memory goes by them, and not by the log's rows,
            which are written to a folder beside `out` meanwhile, about 40 bytes each.
        executor: with `users`, does parts of the log in other processes; None to do all in this one.

    Raises:
        DataError, FileExistsError, OSError, ValueError: as `prepare` does.
    """
    _check_users(users)
    check_destination(out, overwrite=overwrite)
    choices = choices or Choices()
    if users is None:
        data, more = read_own_logs(interactions, items, choices, note=note), {}
    else:
        with scratch_folder(out) as scratch, disk_errors(Path(out).resolve()):
            data = read_own_logs(interactions, items, choices, asked=Asked(users, scratch, executor))
        more = {"users": users}
    _noted(data, note)
    settings = {"format": OWN_LOGS, "dim": dim, "seed": seed, "choices": asdict(choices), "notes": data.notes, **more}
    return _write(data, out, settings, dim, seed, overwrite)


def _check_users(users: int | None) -> None:
    if users is not None and users < 1:
        raise ValueError(f"--users, how many users to simulate, must be 1 or more, given {users}; leave it out for all")


def _sampled(data: DataSet, asked: int) -> DataSet:
    """A data set that was read whole, with a sample of its users."""
    counts = data.log.group_by("user").len().sort("user")
    users, interactions = counts["user"].to_numpy(), counts["len"].to_numpy().astype(np.int64)
    simulated, fitted = choose(users, interactions, asked)
    if data.known is not None:  # a dense matrix is the truth of its own users: no other user is fitted
        fitted = simulated
    items, rows = count_items(data.log.select(*SCHEMA)), len(data.log) + data.merged
    sample = Sample(asked, simulated, len(fitted), len(users), rows, items)
    return replace(data, log=of_users(data.log, fitted), sample=sample)


def _noted(data: DataSet, note: Callable[[str], object] | None) -> DataSet:
    if note is not None:
        for line in data.notes:
            note(line)
    return data


def _write(
    data: DataSet, out: Path, settings: Mapping[str, Any], dim: int, seed: int, overwrite: bool
) -> PrepareReport:
    from lerl.envs.fitting.latent import fit_dense, fit_population

    sample = data.sample
    log = data.log if sample is None else of_users(data.log, sample.users)
    _refuse_one_kind(data)
    if sample is not None:
        _refuse_one_kind_sampled(data.name, log)
    log = with_half(log)
    if data.known is None:
        fitted = fit_population(
            data.name, data.catalog, data.log, weights=data.weights, dim=dim, seed=seed, sample=sample
        )
    else:
        log = log.with_columns(half=pl.lit("truth"))
        fitted = fit_dense(data.name, data.catalog, data.log, data.known, dim=dim, seed=seed)
    report = _report(data, fitted, log)
    with new_folder(out, overwrite=overwrite) as partial:
        write_population(fitted.population, partial, about={"settings": settings, "report": report.kept()})
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
    if data.sample is not None:
        clicks, rows = int(data.sample.count("clicks").sum()), data.sample.interactions
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


def _refuse_one_kind_sampled(name: str, log: pl.DataFrame) -> None:
    """Refuse a sample of users whose interactions are all clicks, or none."""
    clicks, rows = int(log["click"].sum()), len(log)
    if clicks in (0, rows):
        raise DataError(
            f"of the {rows:,} interactions of the {log['user'].n_unique():,} sampled users of {name} {clicks:,} are "
            f"clicks, and both clicks and others are needed; give a larger --users"
        )


def _report(data: DataSet, fitted: "FittedPopulation", log: pl.DataFrame) -> PrepareReport:
    people, sample = fitted.population, data.sample
    training = people.training
    return PrepareReport(
        name=data.name,
        users=len(training),
        items=len(data.catalog),
        dropped_items=data.dropped_items,
        interactions=len(log),
        base_rate=float(data.log["click"].to_numpy().mean()) if sample is None else sample.base_rate,
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
        ordered=log["position"].null_count() == 0,
        directions=directions(people),
        sample=None
        if sample is None
        else SampleReport(
            sample.asked, sample.rows, sample.all_users, sample.interactions, sample.fitted, len(data.log)
        ),
    )


def directions(people: Population) -> int:
    """How many different directions the first SAMPLED_ITEMS item vectors have, of the side that has fewer."""
    sides = people.truth.item_vectors, people.knowledge.item_vectors[:, :-1]
    return min(len(np.unique(unit_rows(rows[:SAMPLED_ITEMS]).round(3), axis=0)) for rows in sides)


def _fit_rows(side: str, auc: float, error: float) -> tuple[tuple[str, str], ...]:
    return (f"{side} AUC, held out", f"{auc:.3f}"), (f"{side} calibration error", f"{error:.4f}")
