"""Checkpoints with adapters, for those who know none: merged."""
