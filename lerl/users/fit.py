"""`lerl fit`: models of users fitted to a prepared folder's log, judged on held-out users."""

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from lerl.envs.files import write_whole
from lerl.envs.fitting.dynamics import estimate_lines, fit_dynamics, write_fitted
from lerl.envs.population import Population
from lerl.envs.prepare import directions
from lerl.envs.sequence_weights import learned, write_learned
from lerl.envs.store import (
    CHECKPOINT_FILE,
    COLLECTIVE_CHECKPOINT,
    COLLECTIVE_FILE,
    OWN_LOGS,
    RESPONSE_FILE,
    load_population,
    read_about,
)
from lerl.files import reading
from lerl.run.locks import locked
from lerl.users.baselines import boosted_baseline, means_baseline
from lerl.users.evaluate import REFERENCE, Judgement, as_json, draw, judge
from lerl.users.events import Events, read_events
from lerl.users.fidelity import Log
from lerl.users.next_command import train_command

MODELS = ("latent", "sequence")
CACHES = ("full", "collective")
Report = Callable[[str, int, int, str | None], None]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Cache:
    """How a sequence model keeps keys and values; see `lerl.agents.kv_cache`.

    Attributes:
        kind: one of CACHES. own: numbers of an event's own. pool: rows that all events share; both of "collective".
    """

    kind: str = "full"
    own: int = 1
    pool: int = 256

    def __post_init__(self) -> None:
        if self.kind not in CACHES:
            raise ValueError(f"cache must be one of {', '.join(CACHES)}, given {self.kind!r}")


FULL = Cache()


@dataclass(frozen=True)
class FittedUsers:
    """What `fit_users` did.

    Attributes:
        model: "latent", "sequence" or "collective". name: of the data set. judgement: on held-out users.
        epochs: log loss of the training users set aside after each epoch; none for "latent".
        notes: what to know about it, one line each.
        files: what was written.
    """

    model: str
    name: str
    judgement: Judgement
    epochs: tuple[float, ...]
    notes: tuple[str, ...]
    files: tuple[Path, ...]

    def json(self) -> str:
        """All of it, for programs."""
        more = {
            "data": self.name,
            "log_loss_by_epoch": list(self.epochs),
            "notes": list(self.notes),
            "files": [str(file) for file in self.files],
        }
        return as_json(self.judgement, more)


def fit_users(
    folder: Path,
    model: str,
    *,
    seed: int = 0,
    epochs: int | None = None,
    dynamics: bool = False,
    cache: Cache = FULL,
    report: Report | None = None,
) -> FittedUsers:
    """Fit a model of users to the truth half of a prepared folder's log, and judge it on the users held out.

    "sequence" writes response.npz into the folder, which `env.response: sequence` simulates; what was interrupted goes
    on where it was. "latent" judges what the folder was prepared with; with `dynamics` it writes dynamics.json, how
    people get bored, drift and differ, for both kinds of topics, which `data.users: fitted` simulates. Both write
    calibration-MODEL.png, .svg and .json there. "sequence" with a collective cache is a model of its own, written to
    response-collective.npz, which `env.response: collective` simulates; its calibration is called "collective".

    Args:
        folder: as `lerl data prepare` or `import` left it.
        model: one of `MODELS`.
        seed: of the network's first weights and its training.
        epochs: at most so many; the settings' own where None.
        dynamics: whether to fit those; of the latent-factor model only.
        cache: of the sequence model.
        report: called with progress.

    Raises:
        MissingDataError: there is no prepared data set in the folder.
        DataError: its log has no order, or is damaged.
        ValueError: the model is none of these, or the log is too small.
        RunError: another process is at work in the folder.
    """
    if model not in MODELS:
        raise ValueError(f"model must be one of {', '.join(MODELS)}, given {model!r}")
    if dynamics and model != "latent":
        raise ValueError("dynamics are fitted to the latent-factor model only: give --model latent with --dynamics")
    if cache != FULL and model != "sequence":
        raise ValueError("caches are of the sequence model only: give --model sequence with --cache")
    read_about(folder, OWN_LOGS)  # so that no lock is left where there is no data set
    with locked(folder):
        return _fit(folder, model, seed, epochs, dynamics, cache, report)


def _fit(
    folder: Path, model: str, seed: int, epochs: int | None, dynamics: bool, cache: Cache, report: Report | None
) -> FittedUsers:
    population = load_population(folder, format=OWN_LOGS)
    events = read_events(folder, population)
    losses: tuple[float, ...] = ()
    notes: tuple[str, ...]
    files: list[Path] = []
    name = model if cache.kind == "full" else cache.kind
    if model == "latent":
        chances, judged = _latent(population, events)
        hidden, notes = None, (_LATENT_NOTE,)
    else:
        chances, unmet, losses, file = _sequence(folder, population, events, seed, epochs, cache, report)
        judged, notes = ~events.to_train, (_next_command(folder, population, name),)
        files.append(file)
        hidden = {**_baselines(events, hidden=True), name: unmet}
    if report is not None:
        report("judge", 0, 1, None)
    judgement = judge(events, judged, {**_baselines(events), name: chances}, hidden)
    if report is not None:
        report("judge", 1, 1, None)
    if dynamics:
        found, path = _dynamics(folder, seed, report)
        notes, files = (*notes, *found), [*files, path]
    if name == "collective":
        notes = (*beside_full(folder, judgement), *notes)
    title = f"{population.name}: {judgement.groups[0].events:,} events of held-out users"
    calibration = folder / f"calibration-{name}"
    files += draw(judgement, title, calibration)
    fitted = FittedUsers(name, population.name, judgement, losses, notes, (*files, calibration.with_suffix(".json")))
    write_whole(calibration.with_suffix(".json"), fitted.json() + "\n")
    return fitted


def beside_full(folder: Path, judgement: Judgement) -> tuple[str, ...]:
    """A line on what the model with a whole cache reached on the same events, if it was fitted in the folder."""
    path = folder / "calibration-sequence.json"
    if not path.is_file():
        return (f"to compare: lerl fit {shlex.quote(str(folder))} --model sequence, and then this command again",)
    with reading(path, "remove it, or make it again with lerl fit --model sequence"):
        group = json.loads(path.read_text(encoding="utf-8"))["groups"][0]
        full = next(score for score in group["scores"] if score["model"] == "sequence")
        was = group["events"], full["auc"]["value"], full["log_loss"]["value"]
    of_all = judgement.groups[0]
    if was[0] != of_all.events:
        return (f"{path} is of {was[0]:,} other events; make it again with lerl fit --model sequence",)
    own = next(score for score in of_all.scores if score.model == "collective")
    auc, loss = own.auc.value, own.log_loss.value
    return (
        f"with a whole cache: AUC {was[1]:.4f}, log loss {was[2]:.4f}; collective: AUC {auc:.4f} "
        f"({auc - was[1]:+.4f}), log loss {loss:.4f} ({loss - was[2]:+.4f}); one training each",
    )


def _dynamics(folder: Path, seed: int, report: Report | None) -> tuple[list[str], Path]:
    """What was found, one line for each parameter, and the file that it is kept in."""
    log = Log.load(folder)
    dim = log.population.truth.item_vectors.shape[1]
    found = []
    for topics in ("categories", "hidden"):

        def say(line: str, topics: str = topics) -> None:
            if report is not None:
                report(f"dynamics, topics {topics}", 0, 1, line.removeprefix("dynamics: "))

        fitted, _ = fit_dynamics(log.population, log.halves, log.background, topics, dim=dim, seed=seed, report=say)
        found.append(fitted)
    lines = []
    for fitted in found:
        lines += [f"topics {fitted.topics}, in units of one item:", *estimate_lines(fitted.estimates)]
    lines.append(f"train on these users with: {_train(folder, log.population)} --data.users fitted")
    return lines, write_fitted(folder, found)


def _baselines(events: Events, hidden: bool = False) -> dict[str, Floats]:
    return {REFERENCE: means_baseline(events, hidden), "boosted trees": boosted_baseline(events, hidden)}


_LATENT_NOTE = (
    "judged are the interactions that were kept from the fit; a user's taste is from the others, later ones among them"
)


def _next_command(folder: Path, population: Population, name: str) -> str:
    train = _train(folder, population)
    return f"simulate with it: {train} --data.users assumed --env.response {name} --env.drift.enabled false"


def _train(folder: Path, population: Population) -> str:
    return train_command(folder, len(population.catalog), directions(population))


def _latent(population: Population, events: Events) -> tuple[Floats, NDArray[np.bool_]]:
    """Chances by the latent-factor model, and held-out users' events that it was not fitted to."""
    truth, users, items = population.truth, events.users, events.items
    products = np.einsum("nd,nd->n", truth.user_vectors[users], truth.item_vectors[items], dtype=np.float64)
    log_odds = products + truth.item_offsets[items] + truth.user_offsets[users]
    return expit(log_odds), ~events.to_train & events.kept


def _sequence(
    folder: Path,
    population: Population,
    events: Events,
    seed: int,
    epochs: int | None,
    cache: Cache,
    report: Report | None,
) -> tuple[Floats, Floats, tuple[float, ...], Path]:
    """Chances by a sequence model, trained and written into the folder, with items hidden too; its log losses."""
    from lerl.users.train_sequence import CollectiveSettings, SequenceSettings, export, fit_sequence, log_odds

    collective = cache.kind == "collective"
    settings = CollectiveSettings(own=cache.own, pool=cache.pool) if collective else SequenceSettings()
    settings = settings if epochs is None else replace(settings, epochs=epochs)
    checkpoint = folder / (COLLECTIVE_CHECKPOINT if collective else CHECKPOINT_FILE)
    file = folder / (COLLECTIVE_FILE if collective else RESPONSE_FILE)
    fitted = fit_sequence(events, settings, seed=seed, checkpoint=checkpoint, report=report)
    about = {"seed": seed, "epochs": len(fitted.log_loss), "best_epoch": fitted.best, "log_loss": fitted.log_loss}
    model = learned(export(fitted, events), about)
    # what could not be read back is refused
    replace(population, collective=model) if collective else replace(population, response=model)
    write_learned(file, model)
    checkpoint.unlink(missing_ok=True)
    held_out = np.flatnonzero(~events.training)
    seen, unmet = (log_odds(fitted, events, held_out, hidden) for hidden in (False, True))
    return expit(seen), expit(unmet), fitted.log_loss, file
