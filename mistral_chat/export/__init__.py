"""Conversations as files, and back: JSON for everything, Markdown for reading, and what others' programs export as text."""
