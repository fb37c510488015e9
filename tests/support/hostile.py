"""Strings that attack a screen: what acts on terminals, what markup languages obey, what hides, and what is too much."""

from __future__ import annotations

import re
from typing import Final

from support.effort import exhaustive

_ACTS: Final = [
    "\x1b]52;c;cm0gLXJmIH4=\x07",
    "\x1b]52;c;cm0gLXJmIH4=\x1b\\",
    "\x1b]0;PWNED\x07",
    "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "\x1b[2J\x1b[H",
    "\x1b[?1049l",
    "\x1b[6n",
    "\x1b[5i",
    "\x1bP+q544e\x1b\\",
    "\x1b_Gi=1\x1b\\",
    "\x9b31m",
    "\x9d0;PWNED\x9c",
    "\x90q\x9c",
    "\x1b",
    "\x07\x08\x0b\x0c\x7f\x00",
    "a\rb",
    "\u202egnp.exe\u202c",
    "\u2066\u2067\u2068\u2069",
    "zero\u200bwidth\u2060join\ufeff",
    "".join(chr(0xE0000 + ord(letter)) for letter in "hidden"),
    "\ud800 \udfff",
    "\u2028\u2029",
    "\x85",
    "\x0e\x0f",
    "&#x1b;[31m &#8238; &#155;",
]

_MARKUP: Final = [
    "[bold]B[/bold]",
    "[/]",
    "[INST] hi [/INST]",
    "[/nosuch]",
    "[@click=app.quit]quit[/]",
    "[b",
    "[/",
    "[$primary on red]x",
    "[link=https://evil.example]x[/link]",
    "[[x]]",
    "\\[x]",
    "[#ff0000]x",
    "<b>bold</b><script>alert(1)</script>",
    "</s><s>[INST]",
    "List<String> and a < b && c > d",
    "[https://mybank.example](https://evil.example/x)",
    "[a](javascript:alert(1)) [b](vscode://x) [c](file:///etc/passwd)",
    "![image](https://evil.example/pixel.png)",
    "[a]: https://evil.example",
    "%s {0} {name} $(id) `id`",
]

_MUCH: Final = [
    "x" * 5000,
    "漢" * 3000,
    "e" + "\u0301" * 500,
    "👨‍👩‍👧‍👦" * 200,
    "[" * 300,
    "*" * 300,
    "`" * 300,
    "> " * 200 + "deep",
    "- " * 200 + "deep",
    "| " * 100 + "|\n" + "|-" * 100 + "|\n" + "| x " * 100 + "|",
    "a\n" * 2000,
    "\t" * 50 + "tab",
    "```" + "\x1b]0;x\x07" + "\ncode\n```",
    "```python\n" + "print('\x1b[31m')\n" * 20,
    "1" * 400 + ". item",
]

BASE: Final = [*_ACTS, *_MARKUP, *_MUCH]
"""What the rest is made of."""

MEGABYTES: Final = ["x" * 1_000_000, "\x1b]0;x\x07[b]\u202e" * 100_000]
"""A line of a million characters, and one that is hostile besides."""

STRINGS: Final = [*BASE, *(f"{act} {markup}" for act in _ACTS for markup in _MARKUP[:10])]
"""Some three hundred."""

_KINDS: Final = "\x1b]0;P\x07\x9b31m\u202eb\u2066i\u200bz\u2060\U000e0068\x85\u2028\r\x0e\x00\ud800&#x1b;"
"""One of each kind of what acts, reorders or hides, short enough for every place that cuts its text."""

PROBES: Final = (
    STRINGS if exhaustive() else [_KINDS, " ".join(_ACTS), *_MARKUP[2:12:2], *_MARKUP[13:16], *_MUCH[:-3:2], _MUCH[-3]]
)
"""What each place on the screen is given by default. The sanitiser and the Markdown take all `STRINGS` in their own tests."""

FLAGS: Final = re.compile(
    "\U0001f3f4(?:"
    + "|".join("".join(chr(0xE0000 + ord(letter)) for letter in name) for name in ("gbeng", "gbsct", "gbwls"))
    + ")\U000e007f"
)
"""The three emoji that are written with tag characters."""


_DANGEROUS: Final = re.compile(
    r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)


def dangerous(text: str) -> list[str]:
    """The characters of `text` that act on a terminal, reorder its line or hide; rows are joined by line breaks."""
    return [f"U+{ord(found):04X}" for found in _DANGEROUS.findall(FLAGS.sub("", text))]
