"""Prompts and sizes of these tests."""

PROMPTS = ["a red apple left of a green book", "two hearts", "the sea", "a book above an owl", "an owl"]
STOPPED = 75  # exit code: saved, the same command goes on
TINY = ["--steps", "2", "--iterations", "2", "--batch", "4", "--group", "2", "--samples", "2", "--precision", "float32"]
