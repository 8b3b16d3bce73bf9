"""Tables and progress bars on a terminal, made safe for texts from other people (names of items, agents, files)."""

import sys
from collections.abc import Iterable
from typing import IO, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from lerl.envs.text import visible
from lerl.report.streams import Lasting


class Screen(Console):
    """A console whose texts are visible; only its own commands reach the terminal.

    Args:
        file: where it writes, standard output when none. options: as Rich's `Console` takes them.
    """

    def __init__(self, file: IO[str] | None = None, **options: Any) -> None:
        there: Any = sys.stdout if file is None else file
        commanded: Any = _Commanded(there) if isinstance(there, Lasting) else there
        super().__init__(file=commanded, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As Rich renders, text by text."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


class _Commanded:
    """A stream of standard output that takes commands."""

    def __init__(self, stream: Lasting) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.command(text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
