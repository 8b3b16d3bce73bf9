"""A chat model looked at before and after it plans: prompts, cost, abilities, usage."""
