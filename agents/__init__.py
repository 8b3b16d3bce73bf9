"""Which items to show: Stable-Baselines3 item policies under planners, and the baselines to compare them with."""

if __name__ != "lerl.agents":
    raise ImportError(f"import this package as lerl.agents, not as {__name__}")
