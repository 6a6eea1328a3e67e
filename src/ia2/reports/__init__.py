"""Tables and figures of a study, made only from its records and predictions."""
