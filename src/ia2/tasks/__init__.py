"""Tasks: rows as query and response text, from the benchmarks of the paper, a user's file, or built in."""
