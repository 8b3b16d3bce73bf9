"""`python -m lerl`, the same as `lerl`."""

import sys

from lerl.cli import main

sys.exit(main())
