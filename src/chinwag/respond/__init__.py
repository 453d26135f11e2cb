"""What to answer: the history, the prompt, and the clauses of the answer."""
