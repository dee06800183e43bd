"""What the documents say is there: every path, every command, every decision's number."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from thingroom.cli import main

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
FOLDERS = "app|bench|common|device_profiles|docs|firmware|gateway|homeserver|tests|watch"
SOURCE_PATH = re.compile(rf"`((?:{FOLDERS})/[^`\s{{}}<>*]*)`")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_and_link_of_a_document_leads_somewhere(document: Path):
    text = document.read_text(encoding="utf-8")
    missing = [path for path in SOURCE_PATH.findall(text) if not (ROOT / path).exists()]
    missing += [link for link in LINK.findall(text) if not (document.parent / link).exists()]
    assert not missing


def test_the_walk_of_one_reading_names_files():
    assert len(SOURCE_PATH.findall((ROOT / "docs" / "one_reading.md").read_text(encoding="utf-8"))) >= 15


def test_each_decision_has_a_number_of_its_own():
    numbers = [path.name[:4] for path in (ROOT / "docs" / "decisions").glob("*.md")]
    assert len(numbers) == len(set(numbers))


def _commands_of_the_readme() -> list[list[str]]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^    thingroom (.+?)(?:  .*)?$", text, re.MULTILINE)
    return [[word for word in line.split() if re.fullmatch(r"[a-z][a-z-]*", word)] for line in lines]


@pytest.mark.parametrize("words", _commands_of_the_readme(), ids=" ".join)
def test_the_commands_of_the_readme_exist(words: list[str]):
    result = CliRunner().invoke(main, [*words, "--help"])
    assert result.exit_code == 0, result.output
    assert " ".join(words) in result.output


def test_help_names_every_command_and_is_quick_to_read():
    result = CliRunner().invoke(main, ["--help"])
    for name in ("run", "config", "gateway", "homeserver"):
        assert f"\n  {name} " in result.output
    assert len(result.output.splitlines()) < 40
