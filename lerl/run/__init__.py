"""One run: its folder, its agents, training and evaluation."""

from lerl.startup import require

require("train")
