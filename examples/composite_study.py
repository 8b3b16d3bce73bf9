"""When does a model with interactions pay for rating whole outfits? Made-up ratings, whose interactions are known.

Run it:  python examples/composite_study.py [--seeds 5] [--densities 0.01,0.02,0.05,0.1] [--strengths 0,0.5,1]
It prints, for each share of wholes that is rated, the root mean squared error against the true ratings of all others,
and by how much `jima` is better than the best of the rows that it has to beat; with several shares it also draws the
error over the share into composite_study.png. By itself it tries one seed at 1 %, about a minute.
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from scipy import stats

from lerl.agents.composite.baselines import COMPARED, Feedback, jima
from lerl.agents.composite.made_up import made_up

matplotlib.use("Agg")
from matplotlib import pyplot

ROWS = ("jima", *COMPARED)
RIVALS = ("single-task", "additive", "regression", "CP", "FM")


def errors(seed: int, strength: float, density: float) -> list[float]:
    """Root mean squared error of each row against the truth of the wholes that were not rated."""
    data = made_up(seed, strength, density)
    feedback = Feedback(data.singles, data.pairs, data.wholes)
    scores = [fit(feedback, seed) for fit in (jima, *COMPARED.values())]
    return [float(np.sqrt(((score(data.users, data.items) - data.truth) ** 2).mean())) for score in scores]


def gain(found: np.ndarray, rivals=RIVALS) -> str:
    """By how many per cent `jima`'s error is below that of the rival best on average, with 95 % over paired seeds."""
    means = found.mean(axis=0)
    best = min(rivals, key=lambda row: means[ROWS.index(row)])
    logs = np.log(found[:, 0] / found[:, ROWS.index(best)])
    half = stats.sem(logs) * stats.t.ppf(0.975, len(logs) - 1) if len(logs) > 1 else np.nan
    low, middle, high = (100 * (1 - np.exp(logs.mean() + move)) for move in (half, 0.0, -half))
    return f"{middle:+.1f} % [{low:+.1f}, {high:+.1f}] below {best}"


def draw(found: dict[tuple[float, float], np.ndarray], strength: float, path: Path) -> None:
    """Error over the share of wholes that is rated."""
    shares = sorted(density for one, density in found if one == strength)
    figure, axes = pyplot.subplots(figsize=(6.4, 3.8), layout="constrained")
    for number, row in enumerate(ROWS):
        values = np.array([found[strength, share][:, number] for share in shares])
        look = {"lw": 2.5, "zorder": 3} if row == "jima" else {"lw": 1.2}
        axes.plot([100 * share for share in shares], values.mean(axis=1), marker="o", ms=3, label=row, **look)
    axes.set(xscale="log", yscale="log", xlabel="wholes rated, %", ylabel="error (RMSE against the truth)")
    axes.set_xticks([100 * share for share in shares], [f"{100 * share:g}" for share in shares])
    axes.minorticks_off()
    axes.legend(frameon=False, ncols=2, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--densities", default="0.01")
    parser.add_argument("--strengths", default="0,0.5,1")
    parser.add_argument("--out", type=Path, default=Path("composite_study.png"))
    given = parser.parse_args()
    densities, strengths = ([float(part) for part in text.split(",")] for text in (given.densities, given.strengths))
    found = {}
    print(f"| rated | strength | {' | '.join(ROWS)} | jima's error |")
    print("|---" * (len(ROWS) + 3) + "|")
    for density in densities:
        for strength in strengths:
            values = np.array([errors(seed, strength, density) for seed in range(given.seeds)])
            found[strength, density] = values
            cells = " | ".join(f"{value:.3f}" for value in values.mean(axis=0))
            print(f"| {100 * density:g} % | {strength:g} | {cells} | {gain(values)} |", flush=True)
    if len(densities) > 1:
        draw(found, strengths[-1], given.out)


if __name__ == "__main__":
    main()
