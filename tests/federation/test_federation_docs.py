"""The configurations that docs/operation.md shows are ones that the server takes."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest
from click.testing import CliRunner

from thingroom_homeserver.cli import homeserver_commands
from thingroom_homeserver.config import load_config
from thingroom_homeserver.federation.service import federates

TEXT = (Path(__file__).parents[2] / "docs" / "operation.md").read_text(encoding="utf-8")
BLOCKS = [textwrap.dedent(found) for found in re.findall(r"^ *```toml\n(.*?)^ *```$", TEXT, re.DOTALL | re.MULTILINE)]
EXAMPLES = [block for block in BLOCKS if "[[homeserver.listeners]]" in block]
COMMANDS = re.findall(r"^    thingroom homeserver ([a-z -]+[a-z])", TEXT, re.MULTILINE)


def test_there_are_examples():
    assert len(EXAMPLES) == 2
    assert len(COMMANDS) >= 9


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_server_takes_the_examples(tmp_path: Path, example: str):
    path = tmp_path / "thingroom.toml"
    path.write_text(example, encoding="utf-8")
    assert federates(load_config(path))


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_are_there(command: str):
    assert CliRunner().invoke(homeserver_commands, [*command.split(), "--help"]).exit_code == 0
