"""Who the users are and how they react: the simulated population and its two Gymnasium views."""

if __name__ != "lerl.envs":
    raise ImportError(f"import this package as lerl.envs, not as {__name__}")
