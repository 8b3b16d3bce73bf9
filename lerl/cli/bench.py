"""lerl bench: how fast lerl is."""

from pathlib import Path

from lerl.cli.parser import Parser, add_json, say, whole_number

BENCH_HELP = (
    "Measure how fast lerl is. Each row of the table compares lerl with another library or with an upper bound; both "
    "are timed in turn, in CPU seconds, and the table shows medians and their spread. SARDINE is installed from the "
    "package index into an environment of its own, in the user's cache folder or in --peers, and kept; rows whose "
    "library cannot be installed say so."
)


def run_bench(arguments: list[str]) -> None:
    """lerl bench"""
    parser = Parser("lerl bench", description=BENCH_HELP, allow_abbrev=False)
    add = parser.add_argument
    add("--rows", metavar="NAME,...", help="measure only these rows")
    add("--repeats", metavar="N", type=whole_number(1, 1000), default=7, help="measurements of each side (7)")
    add("--peers", metavar="FOLDER", type=Path, help="where other libraries are, or are installed")
    add("--out", metavar="FOLDER", type=Path, help="write bench.json and pictures there")
    add_json(parser)
    given = parser.parse_args(arguments)

    from lerl.bench import cases, timing
    from lerl.envs.files import write_whole

    rows = None if given.rows is None else given.rows.split(",")
    found = cases.measure(rows, given.peers, given.repeats, say)
    print(timing.as_json(found) if given.json else "\n".join(timing.lines(found)))
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        write_whole(given.out / "bench.json", timing.as_json(found) + "\n")
        cases.draw(found, given.out)
