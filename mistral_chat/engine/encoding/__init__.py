"""Encodes messages as tokens, with one class per prompt format."""
