"""How often a rule planned in a chat model's place, and why, from the counts of a run's traffic."""

from collections.abc import Mapping

OWN = "fallback: "


def fallbacks(counts: Mapping[str, float]) -> dict[str, int]:
    """How often there was no usable answer, by cause in the order of the alphabet."""
    return {name.removeprefix(OWN): int(value) for name, value in sorted(counts.items()) if name.startswith(OWN)}


def told(causes: Mapping[str, int]) -> str:
    """The causes with their numbers, in words."""
    return ", ".join(f"{causes[cause]:,} {cause}" for cause in in_order(causes))


def in_order(causes: Mapping[str, int]) -> list[str]:
    """The causes, the one behind which others stand at the end."""
    return sorted(causes, key=lambda cause: cause == "breaker")


def percent(share: float) -> str:
    """A share in per cent, to three digits."""
    return f"{100 * share:.3g} %"
