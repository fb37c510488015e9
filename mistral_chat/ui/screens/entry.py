"""The dialog for one thing that a person names in the settings: a persona, a prompt format, a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static, TextArea

from mistral_chat.text import clean, one_line
from mistral_chat.ui.widgets.ordered_keys import OrderedKeys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from textual.app import ComposeResult

    from mistral_chat.config.named_entries import EntryField, FieldTexts

_LONGEST: Final = 4000
_MANY_LINES: Final = frozenset({("system",)})
"""Fields that may have several lines."""


class EntryInput(OrderedKeys, Input):
    """One field."""

    HELP = (
        "## A field\n\nType the value; empty leaves it to what stands behind. **Enter** keeps all, **Escape** changes nothing.\n"
    )


class EntryText(OrderedKeys, TextArea):
    """A field of several lines."""

    HELP = "## A field\n\nType the text. **Tab** goes on to the next field, **Escape** changes nothing.\n"


class EntryButton(Button):
    """What to do with what was typed."""

    HELP = "## An entry\n\n**Tab** goes on, **Enter** does it, **Escape** changes nothing.\n"


class EntryScreen(ModalScreen["str | None"]):
    """Asks for the fields of an entry until they can be kept; ends with its name, or with None when nothing was changed."""

    CSS_PATH = "settings.tcss"
    HELP = "## An entry\n\n**Tab** goes through the fields, **Enter** keeps them, **Escape** changes nothing.\n"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Cancel", tooltip="Change nothing", id="entry.cancel"),
    ]

    def __init__(
        self,
        heading: str,
        fields: Sequence[EntryField],
        *,
        typed: Mapping[tuple[str, ...], str],
        name: str | None,
        keep: Callable[[str, FieldTexts], str],
    ) -> None:
        """Ask.

        Args:
            heading: what it is.
            fields: what it can say.
            typed: what it says now.
            name: what it is called; None asks for a name too.
            keep: keeps it under a name; says why it cannot be kept, or nothing.
        """
        super().__init__()
        self._heading, self._asked, self._typed, self._called, self._keep = heading, fields, typed, name, keep

    def compose(self) -> ComposeResult:
        """The fields with what they mean, what is wrong, and the buttons."""
        with Vertical(classes="dialog entry"):
            yield Static(Content(one_line(self._heading, 60)), classes="heading")
            with VerticalScroll(classes="fields", can_focus=False):
                if self._called is None:
                    yield Static(Content("name"), classes="field")
                    yield EntryInput(id="called", compact=True)
                for number, field in enumerate(self._asked):
                    yield Static(_label(field), classes="field")
                    text = self._typed.get(field.path, "")
                    if field.path in _MANY_LINES:
                        yield EntryText(clean(text[:_LONGEST]), id=f"field{number}", compact=True, highlight_cursor_line=False)
                    else:
                        default = field.doc.default.strip('"') or (
                            "" if not field.path or "empty" in field.doc.kind else "needed"
                        )
                        yield EntryInput(one_line(text, _LONGEST), placeholder=default, id=f"field{number}", compact=True)
            yield Static("", id="problem", markup=False)
            with Horizontal(classes="buttons"):
                yield EntryButton("Keep", variant="primary", id="keep", compact=True)
                yield EntryButton("Cancel", id="cancel", compact=True)

    def on_mount(self) -> None:
        """Begin at the first field."""
        self.query("EntryInput, EntryText").first().focus()

    def action_leave(self) -> None:
        """Change nothing."""
        self.dismiss(None)

    @on(Input.Submitted)
    @on(Button.Pressed, "#keep")
    def _kept(self) -> None:
        name = self._called if self._called is not None else self.query_one("#called", EntryInput).value.strip()
        typed: FieldTexts = {}
        for number, field in enumerate(self._asked):
            widget = self.query_one(f"#field{number}")
            text = widget.text if isinstance(widget, EntryText) else widget.value if isinstance(widget, EntryInput) else ""
            # What only looks another way here is kept as it was.
            before = self._typed.get(field.path, "")
            same = text == (clean(before[:_LONGEST]) if isinstance(widget, EntryText) else one_line(before, _LONGEST))
            typed[field.path] = before if same else text if isinstance(widget, EntryText) else text.strip()
        if problem := self._keep(name, typed):
            shown = self.query_one("#problem", Static)
            shown.update(Content(one_line(problem, 300)))
            shown.display = True
        else:
            self.dismiss(name)

    @on(Button.Pressed, "#cancel")
    def _cancelled(self) -> None:
        self.action_leave()


def _label(field: EntryField) -> Content:
    name = field.path[-1] if field.path else "value"
    return Content.assemble((name, "bold"), (f"  {field.doc.meaning}", "$foreground 65%"))
