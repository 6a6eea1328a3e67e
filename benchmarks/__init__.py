"""Speed, measured as a ratio within one run."""
