"""The feedback loop: agents that are refitted on what they themselves caused, on people who live through days."""
