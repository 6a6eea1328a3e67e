"""Tables and figures, made from records and their predictions and nothing else."""
