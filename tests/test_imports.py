"""Quick commands load no libraries that they do not need, and every import goes to a lower floor.

Only a fresh interpreter can prove what an import loads.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

HEAVY = {"textual", "rich", "llama_cpp", "huggingface_hub", "sqlite_utils", "jinja2", "numpy", "httpx"}

LOADED = "import sys; print(*sys.modules, *{name.partition('.')[0] for name in sys.modules})"

HELP = "import mistral_chat.cli.main as m\ntry:\n    m.cli.main(['--help'], prog_name='x')\nexcept SystemExit: pass\n"


def loaded_by(code: str) -> set[str]:
    """The modules that `code` loads, and their packages; coverage, which loads some itself, does not follow into its process."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run([sys.executable, "-c", f"{code}\n{LOADED}"], capture_output=True, text=True, check=True, env=environ)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("module", ["__init__", "errors", "conversation", "generation", "paths", "config", "config.reader"])
def test_the_lower_floors_load_no_library_of_the_upper_ones(module: str) -> None:
    assert not loaded_by(f"import mistral_chat.{module}") & HEAVY


def test_the_help_loads_click_and_nothing_heavier() -> None:
    assert not loaded_by(HELP) & (HEAVY | {"yaml", "platformdirs", "asyncio"})
    assert not (loaded_by(HELP) - loaded_by("import click")) & {"difflib", "logging", "pathlib", "signal"}


def test_a_session_loads_no_ui_no_llama_and_no_hub() -> None:
    assert not loaded_by("import mistral_chat.session.workspace") & {"textual", "rich", "llama_cpp", "huggingface_hub"}


def test_the_engine_loads_llamas_bindings_without_the_chat_api_on_top_of_them() -> None:
    loaded = loaded_by("import mistral_chat.engine.llama.engine, mistral_chat.engine.llama.probe")
    assert "llama_cpp" in loaded
    assert not loaded & {"numpy", "diskcache", "jinja2"}


def test_the_chat_api_can_be_imported_after_the_bindings() -> None:
    same = "assert llama_cpp.Llama and llama_cpp.llama_decode is bindings.llama_cpp.llama_decode"
    assert "diskcache" in loaded_by(f"from mistral_chat.engine.llama import bindings\nimport llama_cpp\n{same}")


def test_the_first_paint_loads_nothing_that_it_does_without() -> None:
    later = {"ctypes", "hashlib", "json", "markdown_it", "numpy", "pathspec", "secrets", "sqlite3", "yaml"}
    # A dataclass takes up to half a millisecond to make, and these modules have most of them.
    ours = {f"mistral_chat.{name}" for name in ("conversation", "generation", "session.events", "session.reply")}
    assert not loaded_by("import mistral_chat.cli.tui, mistral_chat.config.settings_file, mistral_chat.ui.app") & (
        later | ours | HEAVY - {"textual", "rich"}
    )


@pytest.mark.parametrize(
    "command", ["ask", "chats", "completion", "config", "docs", "doctor", "models", "paths", "prompt", "bench"]
)
def test_no_commands_help_loads_the_ui_the_engine_or_the_hub(command: str) -> None:
    assert not loaded_by(HELP.replace("'--help'", f"'{command}', '--help'")) & {"textual", "rich", "llama_cpp", "huggingface_hub"}


def test_the_version_is_the_packages() -> None:
    from mistral_chat import __version__

    done = subprocess.run([sys.executable, "-m", "mistral_chat", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"mistral-chat {__version__}\n"


def test_every_module_imports_only_from_floors_below_its_own() -> None:
    tool = Path(sysconfig.get_path("scripts")) / "lint-imports"
    root = Path(__file__).parents[1]
    done = subprocess.run([str(tool), "--no-cache"], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
