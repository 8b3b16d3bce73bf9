"""`lerl rank`: recommenders of the next item on data of choices, judged by full ranking."""
