"""Planners that ask a chat model, and what surrounds one: prompts, budget, cache, record and replay."""
