"""What the app's list of weights holds, over real files and a machine whose memory is given."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.hub_server import HubServer
from support.programs import echo_program
from support.tiny_files import FILE, REPOSITORY, SPEC, gguf_bytes

from mistral_chat.cli.shelf import ProgramShelf
from mistral_chat.models.checksums import Checksum
from mistral_chat.models.memory_fit import AvailableMemory
from mistral_chat.ui.screens.weights_words import FORMATS

if TYPE_CHECKING:
    from pathlib import Path

    from mistral_chat.cli.wiring import Program
    from mistral_chat.ui.shelf import Stock

DEFAULT = "mistral-7b-instruct-v0.3"
LAPTOP = AvailableMemory(ram=9_000_000_000)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return echo_program(
        environ={"MISTRAL_CHAT_DATA_DIR": str(tmp_path / "data"), "MISTRAL_CHAT_CONFIG": str(tmp_path / "c.yaml")}
    )


def look(program: Program, wanted: str = DEFAULT, in_use: str | None = None, memory: AvailableMemory | None = LAPTOP) -> Stock:
    return ProgramShelf(program, memory=lambda: memory).look(wanted, in_use)


def recommended(stock: Stock) -> list[str]:
    return [weights.spec for weights in stock.weights if weights.recommended]


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gguf_bytes(200_000))
    return path


def test_the_default_is_recommended_where_it_fits(program: Program) -> None:
    stock = look(program)
    assert recommended(stock) == [DEFAULT]
    assert stock.chosen == DEFAULT
    assert stock.memory == LAPTOP.ram
    assert stock.disk
    assert stock.hub == "huggingface.co"


def test_where_memory_is_unknown_nothing_is_recommended_and_what_was_asked_for_is_chosen(program: Program) -> None:
    stock = look(program, memory=None)
    assert recommended(stock) == []
    assert stock.chosen == DEFAULT
    assert {weights.fit for weights in stock.weights} == {"unknown"}


def test_a_file_on_the_hub_that_no_catalog_has_is_offered(program: Program) -> None:
    stock = look(program, "hf:Acme/tiny-GGUF/tiny.gguf")
    assert stock.chosen == "hf:Acme/tiny-GGUF/tiny.gguf"
    assert recommended(stock) == [DEFAULT], "what cannot be weighed is no advice"


def test_a_name_that_is_not_well_formed_leaves_the_list_whole(program: Program) -> None:
    assert look(program, "hf:nonsense").chosen == DEFAULT


def test_two_files_of_one_name_can_both_be_chosen(program: Program, own_folders: Path, tmp_path: Path) -> None:
    ours = put(tmp_path / "data" / "models" / REPOSITORY / FILE)
    theirs = put(own_folders / ".lmstudio" / "models" / REPOSITORY / FILE)
    theirs.write_bytes(theirs.read_bytes() + b"x")
    stock = look(program)
    found = [weights for weights in stock.weights if weights.source in {str(ours), str(theirs)}]
    assert len({weights.spec for weights in found}) == 2
    library = program.library()
    assert {str(library.find(weights.spec).path) for weights in found} == {str(ours), str(theirs)}


def test_what_is_in_use_gives_its_memory_back(program: Program, tmp_path: Path) -> None:
    path = put(tmp_path / "data" / "models" / REPOSITORY / FILE)
    stock = look(program, SPEC, SPEC)
    assert stock.in_use == stock.chosen == next(weights.spec for weights in stock.weights if weights.source == str(path))
    assert stock.memory is not None
    assert stock.memory > LAPTOP.ram
    card = look(program, SPEC, SPEC, AvailableMemory(ram=8_000_000_000, vram=6_000_000_000))
    assert card.card > 6_000_000_000
    assert card.memory == 8_000_000_000
    assert look(program, SPEC, "gone").in_use == ""


def test_a_damaged_file_is_told_with_its_reason(program: Program, tmp_path: Path) -> None:
    path = put(tmp_path / "data" / "models" / "cut.gguf")
    path.write_bytes(path.read_bytes()[:5000])
    stock = look(program)
    assert [name for name, _ in stock.unusable] == [str(path)]


def test_the_first_choice_is_what_the_next_start_begins_with(tmp_path: Path, program: Program) -> None:
    file = program.paths.config_file
    file.write_text("# mine\ntheme: mistral-light  # bright\n", encoding="utf-8")
    shelf = ProgramShelf(program, memory=lambda: LAPTOP)
    assert shelf.keep(DEFAULT, first=True) == "", "the default needs no word"
    assert "write “model: demo”" in shelf.keep("demo", first=False), "a change for this run is not kept"
    assert "write “model: demo”" in ProgramShelf(program, saved=False).keep("demo", first=True), "nothing is kept of such a run"
    assert "mine" in file.read_text("utf-8")
    assert "model" not in file.read_text("utf-8")
    assert "The next start begins with it" in shelf.keep("demo", first=True)
    assert file.read_text("utf-8").startswith("# mine\ntheme: mistral-light  # bright\n")
    assert echo_program(environ=program.environ).settings.model == "demo"


def test_a_model_named_for_one_run_leaves_the_settings_alone(program: Program) -> None:
    named = echo_program(environ={**program.environ, "MISTRAL_CHAT_MODEL": "pocket"})
    assert "write “model: demo”" in ProgramShelf(named).keep("demo", first=True)
    assert not program.paths.config_file.exists()


def test_settings_that_cannot_be_changed_are_told_with_what_to_write(program: Program) -> None:
    shelf = ProgramShelf(program)
    assert shelf.keep(DEFAULT, first=True) == ""
    program.paths.config_file.mkdir()
    told = shelf.keep("demo", first=True)
    assert "write “model: demo”" in told
    assert str(program.paths.config_file) in told


def test_fetching_tells_where_it_stands_and_remembers_what_was_begun(tmp_path: Path) -> None:
    with HubServer() as hub:
        hub.add(REPOSITORY, FILE, gguf_bytes(300_000))
        program = echo_program(
            environ={
                "HF_ENDPOINT": hub.endpoint,
                "MISTRAL_CHAT_DATA_DIR": str(tmp_path),
                "MISTRAL_CHAT_CONFIG": str(tmp_path / "c"),
            }
        )
        arrivals = list(ProgramShelf(program).fetch(SPEC, threading.Event()))
        assert (arrivals[-1].stage, arrivals[-1].here, arrivals[-1].total) == ("done", 300_000, 300_000)
        assert program.library().find(SPEC).bytes == 300_000


def test_the_machine_is_asked_for_its_memory(program: Program) -> None:
    assert ProgramShelf(program).look(DEFAULT, None).weights


def test_what_removing_frees_is_known_before_and_is_what_it_frees(program: Program, tmp_path: Path) -> None:
    """The question before weights are removed must not promise room that a second name keeps."""
    folder = program.paths.models_dir
    alone, linked = put(folder / "alone.gguf"), put(folder / "linked.gguf")
    (tmp_path / "elsewhere.gguf").hardlink_to(linked)
    frees = {weights.source: weights.frees for weights in look(program).weights if weights.place}
    assert (frees[str(alone)], frees[str(linked)]) == (200_000, 0)
    shelf = ProgramShelf(program)
    assert [shelf.remove(str(path)) for path in (alone, linked)] == [200_000, 0]
    assert not alone.exists()
    assert (tmp_path / "elsewhere.gguf").exists()
    assert frees.get(str(next(weights.source for weights in look(program).weights if weights.spec == "demo"))) is None


def test_weights_are_held_against_the_hash_that_is_stated(program: Program) -> None:
    path = put(program.paths.models_dir / "mine.gguf")
    shelf, read = ProgramShelf(program), list[int]()
    assert shelf.check(str(path), threading.Event(), read.append) is None, "nobody states what it should be"
    assert read[-1] == 200_000
    library = program.library()
    for expected, right in ((library.checksums.of(path).sha256, True), ("0" * 64, False)):  # type: ignore[union-attr]  # just made
        library.checksums.add(path, Checksum.of(path, "", expected))
        assert shelf.check(str(path), threading.Event(), read.append) is right
    stopped = threading.Event()
    stopped.set()
    assert shelf.check(str(path), stopped, read.append) is None


def test_a_prompt_format_is_written_where_settings_may_be_and_holds_at_once_in_any_case(program: Program) -> None:
    put(program.paths.models_dir / "mine.gguf")
    settings = program.paths.config_file
    unsaved = ProgramShelf(program, saved=False)
    assert "Nothing is saved" in unsaved.keep_format("mine", "chatml")
    assert not settings.exists(), "a run that saves nothing wrote the settings"
    assert program.library().find("mine").prompt_format == "chatml"
    assert next(weights for weights in look(program).weights if weights.title == "mine.gguf").prompt_format == "chatml"
    shelf = ProgramShelf(program)
    assert str(settings) in shelf.keep_format("mine", "mistral-v1")
    assert replace(program).settings.models.formats == {"mine.gguf": "mistral-v1"}
    assert shelf.keep_format("mine", "automatic").startswith("Its prompt format is found by itself")
    assert replace(program).settings.models.formats == {}
    assert program.library().find("mine").prompt_format is None
    settings.write_text("models: [broken", encoding="utf-8")
    assert "in this run" in shelf.keep_format("mine", "chatml"), "settings that cannot be used do not stop it"
    assert shelf.formats()[0] == "automatic"
    assert set(shelf.formats()) == set(FORMATS), "each format is explained"


def test_models_and_formats_of_ones_own_hold_while_the_program_runs(program: Program, tmp_path: Path) -> None:
    assert "mine" not in [weights.spec for weights in look(program).weights]
    put(tmp_path / "data" / "models" / REPOSITORY / FILE)
    program.settings_file.write_entry("models.catalog", "mine", {("repository",): REPOSITORY, ("file",): FILE})
    assert "mine" in [weights.spec for weights in look(program).weights], "a model that was just added is not in the list"
    ProgramShelf(program).keep_format("mine", "chatml")
    program.settings_file.write_entry("models.formats", "mine", {(): "mistral-v3"})
    assert program.library().find("mine").prompt_format == "mistral-v3", "what was chosen last does not hold"
    assert next(weights for weights in look(program).weights if weights.spec == "mine").prompt_format == "mistral-v3"


def test_a_settings_file_broken_meanwhile_leaves_the_list_as_it_was(program: Program, tmp_path: Path) -> None:
    before = [weights.spec for weights in look(program).weights]
    (tmp_path / "c.yaml").write_text("models: [", encoding="utf-8")
    assert [weights.spec for weights in look(program).weights] == before
