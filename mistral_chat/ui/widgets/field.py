"""The one-line text field of every dialog."""

from __future__ import annotations

from textual.widgets import Input

from mistral_chat.ui.widgets.ordered_keys import OrderedKeys


class Field(OrderedKeys, Input):
    """An `Input` whose keys act in the order they were pressed. Its help is that of the dialog around it."""
