"""Untrusted text as content that Textual shows literally, never as markup."""

from __future__ import annotations

from textual.content import Content

from mistral_chat.text import clean, one_line


def literal(text: str) -> Content:
    """Return `text`, cleaned, as content without markup."""
    return Content(clean(text))


def literal_line(text: str, limit: int = 200) -> Content:
    """Return `text` on one line, as `one_line` does, as content without markup."""
    return Content(one_line(text, limit))
