"""Tools for chat models as planners: prompts, cost estimates, tests, usage."""
