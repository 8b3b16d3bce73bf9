"""lerl bench"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lerl.cli.parser import (
    Parser,
    whole_number,
)

if TYPE_CHECKING:
    pass


BENCH_HELP = (
    "Measure how fast lerl is: each row against a peer or a ceiling, both sides by turns in one run, medians with "
    "spread, in CPU seconds. SARDINE is installed from the package index into an environment of its own, in the cache "
    "folder of the user or in --peers, and used again from there; rows whose peer cannot be installed say so."
)


def run_bench(arguments: list[str]) -> None:
    parser = Parser("lerl bench", description=BENCH_HELP, allow_abbrev=False)
    add = parser.add_argument
    add("--rows", metavar="NAME,...", help="measure these alone")
    add("--repeats", metavar="N", type=whole_number(1, 1000), default=7, help="turns of both sides (7)")
    add("--peers", metavar="FOLDER", type=Path, help="where peers are, or are installed")
    add("--out", metavar="FOLDER", type=Path, help="where bench.json and the growth curves go (nowhere)")
    add("--json", action="store_true", help="print it for programs")
    given = parser.parse_args(arguments)

    from lerl.bench import cases as bench
    from lerl.bench import timing as measured
    from lerl.envs.files import write_whole

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    rows = None if given.rows is None else given.rows.split(",")
    found = bench.measure(rows, given.peers, given.repeats, say)
    print(measured.as_json(found) if given.json else "\n".join(measured.lines(found)))
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        write_whole(given.out / "bench.json", measured.as_json(found) + "\n")
        bench.draw(found, given.out)
