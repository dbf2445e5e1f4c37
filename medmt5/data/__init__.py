"""Data sets before training: checked, counted, and made of what their authors publish."""
