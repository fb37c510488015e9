"""The program with an engine that writes an answer of a known length at a known speed: for measuring the screen.

    python -c "from support.paced_program import run; run()" [the program's arguments]

The answer to a message that holds a number is Markdown of that many tokens.
"""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from support.echo_engine import EchoEngine

from mistral_chat.cli.main import cli
from mistral_chat.cli.wiring import Program
from mistral_chat.generation import Completion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mistral_chat.engine.thread import LoadProgress
    from mistral_chat.generation import CancelToken, Event, History
    from mistral_chat.models.library import ModelFile
    from mistral_chat.sampling import Sampling

END = "Zanzibar"
"""The last word of every answer."""

SPEED, ENDED = "PACED_TOKENS_PER_SECOND", "PACED_ENDED"
"""The variables that say how fast to write, and which file takes the moment of each answer's end."""

_SECTION = """\
## Section {number}

The window is what the model sees at *once*. When it is full the **oldest** turns leave it, whole, and the chat goes on
at the same speed; `keep` says what stays. This is paragraph {number} of a long answer about it.

- a first point, with some words to wrap where the line ends on a narrow screen
- a second point that names `code` and goes on a little
- a third one

```python
def fits_{number}(tokens: int, window: int = 4096) -> bool:
    # whether a message fits, in tokens and not in words
    used = sum(part.tokens for part in parts[:{number}])
    return tokens + used <= window
```

| term | means |
|---|---|
| prefill | reading the prompt |
| decode | producing tokens |

"""


def answer(text: str) -> str:
    """Markdown with code, lists and tables, of as many tokens as `text` says; ends with `END`."""
    asked = re.search(r"\d+", text)
    wanted = int(asked[0]) if asked else 20
    words: list[str] = []
    number = 0
    while len(words) < wanted - 2:
        number += 1
        words += re.findall(r"\s*\S+\s*", _SECTION.format(number=number))
    return "".join(words[: wanted - 2]) + f"\n\n{END}."


class PacedEngine(EchoEngine):
    """Writes down when each answer ended, on the clock that other processes see too."""

    def reply(self, history: History, sampling: Sampling, cancel: CancelToken) -> Iterator[Event]:
        for event in super().reply(history, sampling, cancel):
            if isinstance(event, Completion) and (note := os.environ.get(ENDED)):
                Path(note).write_text(f"{time.monotonic()} {event.usage.completion_tokens}", encoding="ascii")
            yield event


def run() -> None:
    """Run the program."""

    def load(program: Program, _model: ModelFile, _format: str | None, _progress: LoadProgress) -> PacedEngine:
        speed = float(os.environ.get(SPEED, "50"))
        return PacedEngine(answer, window=program.settings.context.size, tokens_per_second=speed)

    cli.main(sys.argv[1:], prog_name="mistral-chat", obj=Program(load=load))
