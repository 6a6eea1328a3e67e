"""Measuring: what a model or an adapter answers, and the numbers that follow."""
