"""Medical corpora from public sources: readers, steps and what they exchange."""
