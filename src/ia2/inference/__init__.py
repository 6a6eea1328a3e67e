"""Answers of a model: labels scored, texts decoded."""
