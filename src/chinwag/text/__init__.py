"""From a model's text to clauses that a voice can say, and the prompts that ask for it."""
