"""Planners that query a chat model, and what they need: prompts, budget, cache, record and replay."""
