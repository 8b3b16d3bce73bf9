"""Item policies that learn: Stable-Baselines3 algorithms over virtual items, slates and item values."""
