"""Evaluation: running a model or an adapter on rows, and computing metrics from its answers."""
