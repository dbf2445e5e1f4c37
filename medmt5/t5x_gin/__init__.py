"""T5X's gin names on this engine: a T5X user's own run file, unchanged, with or without T5X.

While `launch` parses gin, `modules` takes the place of `t5x.*`, `__main__` and a part of `seqio`.
What it holds has T5X's names and parameters and builds what this engine takes (`names`), or runs it
(`scripts`). What T5X has and this engine does not is in `tables`: passed over with a line in the
log where results cannot change, otherwise refused with what to write instead.
"""
