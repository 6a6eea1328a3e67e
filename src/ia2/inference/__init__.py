"""Inference: scoring labels and decoding free text."""
