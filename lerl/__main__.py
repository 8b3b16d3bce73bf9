"""What the `lerl` command runs, and `python -m lerl`."""

import sys


def main() -> int:
    """Run the command that was given; Ctrl-C ends it in one line while its modules are still being imported, too."""
    try:
        from lerl.cli.main import main as run
    except KeyboardInterrupt:
        print("lerl: interrupted", file=sys.stderr)
        return 130
    return run()


if __name__ == "__main__":
    sys.exit(main())
