"""The environment for Stable-Baselines3."""

from lerl.sb3.vec_env import SessionVecEnv

__all__ = ["SessionVecEnv"]
