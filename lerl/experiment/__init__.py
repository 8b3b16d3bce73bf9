"""Many runs: experiments, searches of settings, sensitivity."""

from lerl.startup import require

require("train")
