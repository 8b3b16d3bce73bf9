"""What is learned of people and items from training sessions, and what is believed of each session."""
