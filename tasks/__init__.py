"""SeqIO tasks and mixtures: one file per family of data sets."""

# Imported when a name is asked for that nothing has registered.
MODULES = (
    *("sample", "raw_text", "sequence_labelling", "mixtures", "question_answering", "general"),
    *("instructions", "corpus"),
)
