"""One parse of each stylesheet for all apps of a test run.

Otherwise each app would parse the same stylesheets again, which is a sixth of its start time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from textual.css.stylesheet import Stylesheet

if TYPE_CHECKING:
    from textual.css.model import RuleSet

_rules: Final[dict[Any, list[RuleSet]]] = {}
"""By all that they depend on: the text, where it is from and counts for, and the theme's variables."""


def share_parsed_css() -> None:
    """Let every app use the rules that another one has parsed."""
    parse = Stylesheet._parse_rules

    def parse_once(self: Stylesheet, css: str, read_from: Any, *where: Any, **named: Any) -> list[RuleSet]:
        known = (css, read_from, where, *named.items(), frozenset(self._variables.items()))
        if known not in _rules:
            _rules[known] = parse(self, css, read_from, *where, **named)
        return _rules[known]

    Stylesheet._parse_rules = parse_once  # type: ignore[method-assign]  # Textual keeps them for one app only
