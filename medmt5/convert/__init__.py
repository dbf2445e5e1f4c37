"""Checkpoints of other frameworks, read and written: T5X and Hugging Face."""
