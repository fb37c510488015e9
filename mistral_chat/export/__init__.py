"""Writes conversations to files: JSON for everything, Markdown for reading."""
