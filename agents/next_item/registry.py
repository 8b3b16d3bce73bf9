"""The rows of `lerl rank` by name: what a new recommender of the next item is added to."""

from collections.abc import Mapping
from dataclasses import fields, replace
from difflib import get_close_matches
from typing import Any

from lerl.agents.generative.s2gr import S2GR
from lerl.agents.generative.tca import TCA
from lerl.agents.generative.tiger import Tiger
from lerl.agents.next_item.base import NextItem
from lerl.agents.next_item.counts import Counts
from lerl.agents.next_item.hstu import HSTU
from lerl.agents.next_item.popularity import Popularity
from lerl.agents.next_item.sasrec import SASRec
from lerl.agents.next_item.together import TextPairs, Together

ROWS: dict[str, type[NextItem]] = {
    "popularity": Popularity, "counts": Counts, "sasrec": SASRec, "hstu": HSTU, "tiger": Tiger,
    "s2gr": S2GR,
    "tca": TCA,
    "together": Together,
    "jima-pairs": TextPairs,
}  # fmt: skip
"""Every recommender, by the name that flags, files and tables give it."""

ALWAYS = ("popularity", "counts")
"""Those that stand in every table: no figure means anything without them."""


def row_class(name: str) -> type[NextItem]:
    """The class of a row.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in ROWS:
        close = get_close_matches(name, ROWS, 1)
        hint = f". Did you mean {close[0]}?" if close else ""
        raise ValueError(f"no row {name!r}; there are {', '.join(ROWS)}{hint}")
    return ROWS[name]


def row_settings(name: str, given: Mapping[str, str]) -> Any:
    """Settings of a row: its defaults, and what is given as text instead, by field.

    Raises:
        ValueError: the row has no such setting, or the text cannot be one.
    """
    settings = row_class(name).Settings()
    known = {one.name: one.type for one in fields(settings)}
    read = {}
    for field, text in given.items():
        if field not in known:
            allowed = ", ".join(f"--{name}.{one}" for one in known) or "none"
            raise ValueError(f"--{name}.{field} is no setting; of {name} there are: {allowed}")
        kind = type(getattr(settings, field))
        try:
            read[field] = kind(text)
        except ValueError as error:
            what = "a whole number" if kind is int else "a number"
            raise ValueError(f"--{name}.{field} must be {what}, given {text!r}") from error
    return replace(settings, **read)
