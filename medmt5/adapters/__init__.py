"""Adapters kept apart from their base: merged for export."""
