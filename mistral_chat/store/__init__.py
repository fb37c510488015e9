"""Keeps what was said, in one SQLite file. All SQL lives here."""
