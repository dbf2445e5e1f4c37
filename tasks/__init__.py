"""SeqIO tasks and mixtures: one file per dataset family."""
