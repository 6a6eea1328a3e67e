"""Tasks: rows as query and response text, from the paper's benchmarks, a user's file, or the built-in reviews."""
