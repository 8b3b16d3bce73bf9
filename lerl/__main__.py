"""What the `lerl` command runs, and `python -m lerl`."""

import os
import sys


def main() -> int:
    """Run the command that was given; Ctrl-C ends it in one line, also while its modules are being imported."""
    # Pydantic would look for plugins in all installed packages, which takes a tenth of a quick command's time.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        from lerl.cli.main import main as run
    except KeyboardInterrupt:
        print("lerl: interrupted", file=sys.stderr)
        return 130
    return run()


if __name__ == "__main__":
    sys.exit(main())
