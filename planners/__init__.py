"""Which categories to show next: rules, and the contract to write your own."""

if __name__ != "lerl.planners":
    raise ImportError(f"import this package as lerl.planners, not as {__name__}")
