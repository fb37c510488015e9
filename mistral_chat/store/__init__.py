"""Conversations and documents in one SQLite file. All SQL is here."""
