"""The model service over real files and a machine whose memory is given."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.hub_server import HubServer
from support.programs import echo_program
from support.tiny_files import FILE, REPOSITORY, SPEC, gguf_bytes

from mistral_chat.models.memory_fit import AvailableMemory
from mistral_chat.ui.screens.models import FORMATS

if TYPE_CHECKING:
    from pathlib import Path

    from mistral_chat.cli.wiring import Program
    from mistral_chat.model_listing import ModelListing

DEFAULT = "mistral-7b-instruct-v0.3"
LAPTOP = AvailableMemory(ram=9_000_000_000)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return echo_program(
        environ={"MISTRAL_CHAT_DATA_DIR": str(tmp_path / "data"), "MISTRAL_CHAT_CONFIG": str(tmp_path / "c.yaml")}
    )


def look(program: Program, wanted: str = DEFAULT, in_use: str | None = None, memory: AvailableMemory = LAPTOP) -> ModelListing:
    return replace(program.model_service(), memory=lambda: memory).listing(wanted, in_use)


def recommended(listing: ModelListing) -> list[str]:
    return [row.spec for row in listing.rows if row.recommended]


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gguf_bytes(200_000))
    return path


def test_the_default_is_recommended_where_it_fits(program: Program) -> None:
    listing = look(program)
    assert recommended(listing) == [DEFAULT]
    assert listing.selected == DEFAULT
    assert listing.ram == LAPTOP.ram
    assert listing.disk
    assert listing.hub == "huggingface.co"


def test_a_file_on_the_hub_that_no_catalog_has_is_offered(program: Program) -> None:
    listing = look(program, "hf:Acme/tiny-GGUF/tiny.gguf")
    assert listing.selected == "hf:Acme/tiny-GGUF/tiny.gguf"
    assert recommended(listing) == [DEFAULT], "what cannot be weighed is no advice"


def test_a_malformed_name_leaves_the_list_complete(program: Program) -> None:
    assert look(program, "hf:nonsense").selected == DEFAULT


def test_two_files_of_one_name_can_both_be_chosen(program: Program, own_folders: Path, tmp_path: Path) -> None:
    ours = put(tmp_path / "data" / "models" / REPOSITORY / FILE)
    theirs = put(own_folders / ".lmstudio" / "models" / REPOSITORY / FILE)
    theirs.write_bytes(theirs.read_bytes() + b"x")
    listing = look(program)
    found = [row for row in listing.rows if row.path in {str(ours), str(theirs)}]
    assert len({row.spec for row in found}) == 2
    library = program.library()
    assert {str(library.find(row.spec).path) for row in found} == {str(ours), str(theirs)}


def test_memory_of_the_loaded_model_counts_as_free(program: Program, tmp_path: Path) -> None:
    path = put(tmp_path / "data" / "models" / REPOSITORY / FILE)
    listing = look(program, SPEC, SPEC)
    assert listing.in_use == listing.selected == next(row.spec for row in listing.rows if row.path == str(path))
    assert listing.ram > LAPTOP.ram
    card = look(program, SPEC, SPEC, AvailableMemory(ram=8_000_000_000, vram=6_000_000_000))
    assert card.vram > 6_000_000_000
    assert card.ram == 8_000_000_000
    assert look(program, SPEC, "gone").in_use == ""


def test_a_damaged_file_is_listed_with_the_reason(program: Program, tmp_path: Path) -> None:
    path = put(tmp_path / "data" / "models" / "cut.gguf")
    path.write_bytes(path.read_bytes()[:5000])
    listing = look(program)
    assert [name for name, _ in listing.unusable] == [str(path)]


def test_the_first_choice_becomes_the_default_model(tmp_path: Path, program: Program) -> None:
    file = program.paths.config_file
    file.write_text("# mine\ntheme: mistral-light  # bright\n", encoding="utf-8")
    service = replace(program.model_service(), memory=lambda: LAPTOP)
    assert service.save_default(DEFAULT, first=True) == "", "the default needs no word"
    assert "enter demo under Model" in service.save_default("demo", first=False), "a change for this run is not kept"
    assert "enter demo under Model" in program.model_service(saved=False).save_default("demo", first=True), (
        "nothing is kept of such a run"
    )
    assert "mine" in file.read_text("utf-8")
    file.write_text("# mine\nmodel: demo\ntheme: mistral-light  # bright\n", encoding="utf-8")
    assert service.save_default("demo", first=False) == "", "it is the default since a moment ago"
    file.write_text("# mine\ntheme: mistral-light  # bright\n", encoding="utf-8")
    assert "model" not in file.read_text("utf-8")
    assert "Saved as the default model" in service.save_default("demo", first=True)
    assert file.read_text("utf-8").startswith("# mine\ntheme: mistral-light  # bright\n")
    assert echo_program(environ=program.environ).settings.model == "demo"


def test_a_model_given_for_one_run_leaves_the_settings_alone(program: Program) -> None:
    named = echo_program(environ={**program.environ, "MISTRAL_CHAT_MODEL": "pocket"})
    assert "enter demo under Model" in named.model_service().save_default("demo", first=True)
    assert not program.paths.config_file.exists()


def test_unwritable_settings_are_reported_with_what_to_set(program: Program) -> None:
    service = program.model_service()
    assert service.save_default(DEFAULT, first=True) == ""
    program.paths.config_file.mkdir()
    notice = service.save_default("demo", first=True)
    assert "enter demo under Model" in notice
    assert str(program.paths.config_file) in notice


def test_a_download_reports_its_progress_and_is_found_afterwards(tmp_path: Path) -> None:
    with HubServer() as hub:
        hub.add(REPOSITORY, FILE, gguf_bytes(300_000))
        program = echo_program(
            environ={
                "HF_ENDPOINT": hub.endpoint,
                "MISTRAL_CHAT_DATA_DIR": str(tmp_path),
                "MISTRAL_CHAT_CONFIG": str(tmp_path / "c"),
            }
        )
        values = list(program.model_service().download(SPEC).follow())
        assert (values[-1].stage, values[-1].bytes, values[-1].total) == ("done", 300_000, 300_000)
        assert program.library().find(SPEC).bytes == 300_000


def test_the_service_asks_the_machine_for_its_memory(program: Program) -> None:
    assert program.model_service().listing(DEFAULT, None).rows


def test_the_space_that_removing_frees_is_known_beforehand(program: Program, tmp_path: Path) -> None:
    """The question before row are removed must not promise room that a second name keeps."""
    folder = program.paths.models_dir
    alone, linked = put(folder / "alone.gguf"), put(folder / "linked.gguf")
    (tmp_path / "elsewhere.gguf").hardlink_to(linked)
    theirs = folder / "shared" / put(tmp_path / "theirs" / "other.gguf").name
    theirs.parent.symlink_to(tmp_path / "theirs")
    frees = {row.path: row.reclaimable for row in look(program).rows if row.installed}
    assert (frees[str(alone)], frees[str(linked)], frees[str(theirs)]) == (200_000, 0, None)
    service = program.model_service()
    assert [service.remove(str(path)) for path in (alone, linked)] == [200_000, 0]
    assert not alone.exists()
    assert (tmp_path / "elsewhere.gguf").exists()
    assert frees.get(str(next(row.source for row in look(program).rows if row.spec == "demo"))) is None


def test_a_verification_compares_with_the_published_checksum(program: Program) -> None:
    path = put(program.paths.models_dir / "mine.gguf")
    service, library = program.model_service(), program.library()

    def verified() -> bool | None:
        row = next(row for row in look(program).rows if row.path == str(path))
        task = service.verification(row)
        assert list(task.follow())[-1].bytes == 200_000
        return task.right

    assert verified() is None, "no checksum is published for it"
    for expected, right in ((library.checksums.of(path).sha256, True), ("0" * 64, False)):  # type: ignore[union-attr]  # just made
        library.checksums.add(path, "", expected)
        assert verified() is right


def test_a_prompt_format_is_saved_if_allowed_and_applies_at_once(program: Program) -> None:
    put(program.paths.models_dir / "mine.gguf")
    settings = program.paths.config_file
    unsaved = program.model_service(saved=False)
    assert "for this session only" in unsaved.set_prompt_format("mine", "chatml")
    assert not settings.exists(), "a run that saves nothing wrote the settings"
    assert program.library().find("mine").prompt_format == "chatml"
    assert next(row for row in look(program).rows if row.title == "mine.gguf").prompt_format == "chatml"
    service = program.model_service()
    assert str(settings) in service.set_prompt_format("mine", "mistral-v1")
    assert replace(program).settings.models.formats == {"mine.gguf": "mistral-v1"}
    assert service.set_prompt_format("mine", "automatic").startswith("Prompt format: auto-detected")
    assert replace(program).settings.models.formats == {}
    assert program.library().find("mine").prompt_format is None
    settings.write_text("models: [broken", encoding="utf-8")
    assert "for this session only" in service.set_prompt_format("mine", "chatml"), "settings that cannot be used do not stop it"
    assert service.prompt_formats()[0] == "automatic"
    assert set(service.prompt_formats()) == set(FORMATS), "each format is explained"


@pytest.mark.parametrize("name", ["mine", "Mine.GGUF", "mine.gguf"])
def test_a_format_under_any_name_of_the_model_can_be_made_automatic(program: Program, name: str) -> None:
    put(program.paths.models_dir / "mine.gguf")
    program.paths.config_file.write_text(f"models:\n  formats:\n    {name}: chatml\n    other: chatml\n", encoding="utf-8")
    assert "saved in" in program.model_service().set_prompt_format("mine", "automatic")
    assert echo_program(environ=program.environ).library().find("mine").prompt_format is None, "the next start uses the old one"
    assert echo_program(environ=program.environ).settings.models.formats["other"] == "chatml"
    program.model_service().set_prompt_format("mine", "mistral-v3")
    assert echo_program(environ=program.environ).library().find("mine").prompt_format == "mistral-v3"


def test_custom_models_and_formats_apply_at_once(program: Program, tmp_path: Path) -> None:
    assert "mine" not in [row.spec for row in look(program).rows]
    put(tmp_path / "data" / "models" / REPOSITORY / FILE)
    program.settings_file.write_entry("models.catalog", "mine", {("repository",): REPOSITORY, ("file",): FILE})
    assert "mine" in [row.spec for row in look(program).rows], "a model that was just added is not in the list"
    program.model_service().set_prompt_format("mine", "chatml")
    program.settings_file.write_entry("models.formats", "mine", {(): "mistral-v3"})
    assert program.library().find("mine").prompt_format == "mistral-v3", "what was chosen last does not hold"
    assert next(row for row in look(program).rows if row.spec == "mine").prompt_format == "mistral-v3"


def test_a_newly_broken_settings_file_leaves_the_list_unchanged(program: Program, tmp_path: Path) -> None:
    before = [row.spec for row in look(program).rows]
    (tmp_path / "c.yaml").write_text("models: [", encoding="utf-8")
    assert [row.spec for row in look(program).rows] == before
