"""`lerl data describe`: numbers and a page of pictures about a prepared data set."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, PercentFormatter
from numpy.typing import NDArray

from lerl.envs.logs.prepared import read_prepared_log
from lerl.envs.logs.times import LATEST
from lerl.envs.store import OWN_LOGS, PICTURE, load_population
from lerl.report.look import shortened
from lerl.report.metrics import gini
from lerl.report.palette import BLUE, INK, ORANGE
from lerl.report.style import STYLE, save
from lerl.users.events import log_positions

_SHOWN, _LEAST_SHOWN = 12, 6  # categories, and places for them, so that bars of few are not thick
_BARS = 60
_COLUMNS = 30
_SIZE = (7.2, 5.2)  # inches


@dataclass(frozen=True)
class Description:
    """A prepared data set in numbers.

    Attributes:
        name: of the data set.
        users: how many users, of them `training` to train on.
        training: how many of them.
        interactions: how many pairs of a user and an item.
        clicks: how many of those are clicks.
        item_counts: (I,) interactions per item, in the order of the catalog.
        user_counts: (U,) interactions per user.
        categories: names of the catalog's categories.
        category_items: (C,) how many items are in each.
        category_counts: (C,) how many interactions their items have.
        times: (N,) seconds since 1970 of the interactions whose time is known, from 1970 to 2037.
        strange_times: how many lie outside of that.
    """

    name: str
    users: int
    training: int
    interactions: int
    clicks: int
    item_counts: NDArray[np.int64]
    user_counts: NDArray[np.int64]
    categories: tuple[str, ...]
    category_items: NDArray[np.int64]
    category_counts: NDArray[np.int64]
    times: NDArray[np.int64]
    strange_times: int = 0

    @property
    def density(self) -> float:
        """Interactions / (users x items)."""
        return self.interactions / (self.users * len(self.item_counts))

    @property
    def popularity_gini(self) -> float:
        """Gini coefficient of interactions over items: 0 when all are equally popular, near 1 when one has them all."""
        return gini(self.item_counts)

    def rows(self) -> list[tuple[str, str]]:
        """Label and value, one pair per line to print."""
        low, middle, high = np.quantile(self.user_counts, (0.1, 0.5, 0.9))
        return [
            ("data set", self.name),
            ("users", f"{self.users:,}"),
            ("of them to train on", f"{self.training:,}"),
            ("items", f"{len(self.item_counts):,}"),
            ("interactions", f"{self.interactions:,}"),
            ("density", f"{self.density:.3%}"),
            ("interactions per user, 10 / 50 / 90 %", f"{low:,.0f} / {middle:,.0f} / {high:,.0f}"),
            ("popularity Gini", f"{self.popularity_gini:.3f}"),
            ("base rate of clicks", f"{self.clicks / self.interactions:.3f}"),
            ("categories", f"{len(self.categories):,}"),
            ("largest of them", self._largest()),
            ("time span", self._span()),
        ]

    def _largest(self) -> str:
        first = np.argsort(-self.category_items, kind="stable")[:5]
        shares = self.category_items / len(self.item_counts)
        return ", ".join(f"{self.categories[c]} {shares[c]:.0%}" for c in first)

    def _span(self) -> str:
        strange = f", and {self.strange_times:,} of years that no log has" if self.strange_times else ""
        if not len(self.times):
            return f"no times{strange}"
        return f"{_day(self.times.min())} to {_day(self.times.max())}{strange}"


def describe(folder: Path) -> Description:
    """Count what is in a prepared folder.

    Raises:
        MissingDataError: there is no prepared data set in the folder.
        DataError: it is damaged, or was saved without its interactions.
    """
    people, log = load_population(folder, format=OWN_LOGS), read_prepared_log(folder)
    _, items = log_positions(folder, people, log)
    counts, times = np.bincount(items, minlength=len(people.catalog)), log["time"].drop_nulls()
    inside = times.is_between(0, LATEST, closed="left")
    membership = people.catalog.categories.membership
    return Description(
        name=people.name,
        users=len(people.training),
        training=int(people.training.sum()),
        interactions=len(log),
        clicks=int(log["click"].sum()),
        item_counts=counts,
        user_counts=log.group_by("user").len()["len"].sort().to_numpy().astype(np.int64),
        categories=people.catalog.categories.names,
        category_items=membership.sum(axis=0),
        category_counts=np.array([counts[members].sum() for members in membership.T]),
        times=times.filter(inside).to_numpy(),
        strange_times=int((~inside).sum()),
    )


def draw(found: Description, out: Path) -> list[Path]:
    """Draw the page into a folder, as PNG and SVG, and say which files were written."""
    out.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(2, 2)
        _popularity(panels[0, 0], found)
        _activity(panels[0, 1], found)
        _categories(panels[1, 0], found)
        _times(panels[1, 1], found)
        counts = f"{found.users:,} users, {len(found.item_counts):,} items, {found.interactions:,} interactions"
        figure.suptitle(f"{found.name}: {counts}", fontsize=9)
        return save(figure, out / PICTURE)


def _popularity(axes: Axes, found: Description) -> None:
    """Interactions of the items, the most popular first."""
    counts = np.sort(found.item_counts[found.item_counts > 0])[::-1]
    axes.plot(np.arange(1, len(counts) + 1), counts, color=BLUE)
    axes.set(xscale="log", yscale="log", xlabel="items, most popular first", ylabel="interactions")
    _logarithmic(axes.xaxis)
    _logarithmic(axes.yaxis)
    _title(axes, f"popularity, Gini {found.popularity_gini:.2f}")


def _activity(axes: Axes, found: Description) -> None:
    """How many users have so many interactions, on a logarithmic axis where the numbers span more than a decade."""
    low, high = int(found.user_counts.min()), int(found.user_counts.max())
    if low == high:
        _instead(axes, f"every user has {low:,} interactions")
        return
    step = -(-(high - low + 1) // _COLUMNS)
    logarithmic = high > 10 * low
    edges = np.geomspace(low, high + 1, _COLUMNS).round() if logarithmic else np.arange(low, high + step + 1, step)
    axes.hist(found.user_counts, bins=np.unique(edges).tolist(), color=BLUE, lw=0)
    axes.set(xlabel="interactions of a user", ylabel="users")
    if logarithmic:
        axes.set_xscale("log")
        _logarithmic(axes.xaxis)
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    _title(axes, f"activity, median {np.median(found.user_counts):,.0f}")


def _categories(axes: Axes, found: Description) -> None:
    """Shares of items and of interactions of the largest categories; an item counts in each of its own."""
    shown = np.argsort(-found.category_counts, kind="stable")[:_SHOWN]
    places = np.arange(len(shown))
    shares = found.category_counts[shown] / found.interactions, found.category_items[shown] / len(found.item_counts)
    axes.barh(places - 0.2, shares[0], 0.38, color=BLUE, label="of interactions")
    axes.barh(places + 0.2, shares[1], 0.38, color=ORANGE, label="of items")
    axes.set_yticks(places, [shortened(found.categories[c]) for c in shown])
    free = 0.12 * max(len(shown), _LEAST_SHOWN)  # above the bars, for the legend
    axes.set(ylim=(max(len(shown), _LEAST_SHOWN) - 0.4, -0.5 - free), xlabel="share in the category")
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.legend(frameon=False, fontsize=6.5, loc="upper right", ncols=2, borderaxespad=0.0)
    more = len(shown) < len(found.categories)
    _title(axes, f"categories, {f'the {len(shown)} largest of' if more else 'all'} {len(found.categories)}")


def _times(axes: Axes, found: Description) -> None:
    """Interactions over time, in steps of equal length."""
    if not len(found.times):
        _instead(axes, "no times in this data set")
        return
    counts, edges = np.histogram(found.times, bins=_BARS)
    axes.stairs(counts, date2num(edges.astype("datetime64[s]")), fill=True, color=BLUE)  # type: ignore[no-untyped-call]
    axes.set(xlabel="time (UTC)", ylabel="interactions")
    _title(axes, f"over time, in {_BARS} equal steps")
    locator: Any = AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))


def _logarithmic(axis: Axis) -> None:
    """A logarithmic axis with ticks at 1, 2 and 5 where it spans little, and with numbers that read as numbers."""
    axis.set_major_locator(LogLocator(10.0, (1.0,) if _decades(axis) > 2 else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(EngFormatter(sep=""))
    axis.set_minor_formatter(NullFormatter())


def _decades(axis: Axis) -> float:
    low, high = axis.get_view_interval()
    return float(np.log10(high / low))


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", color=INK)


def _instead(axes: Axes, text: str) -> None:
    """A sentence where there is nothing to draw."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color=INK)


def _day(seconds: int) -> str:
    return f"{np.datetime64(int(seconds), 's').astype('datetime64[D]')}"
