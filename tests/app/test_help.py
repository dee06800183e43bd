"""The help of every command, read as somebody does who is new: where to begin, whole sentences, slips caught."""

import click
import pytest
from click.testing import CliRunner

from thingroom.cli import main


def every_command(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found = [(path, command)]
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            found += every_command(inner, (*path, name))
    return found


COMMANDS = every_command(main)


def test_without_a_word_it_says_where_to_begin():
    said = CliRunner().invoke(main, [])
    assert said.exit_code == 0
    words = " ".join(said.output.split())
    assert "Begin with `thingroom run`" in words and "`thingroom gateway pair`" in words


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[" ".join(("thingroom", *path)) for path, _ in COMMANDS])
def test_every_command_explains_itself_and_its_options(path, command):
    said = CliRunner().invoke(main, [*path, "--help"])
    assert said.exit_code == 0, said.output
    assert command.help and command.help.split("\n\n")[0].strip().endswith((".", ":")), "a whole sentence"
    assert "...\n" not in said.output.partition("Commands:")[2], "cut short"
    for option in command.params:
        if isinstance(option, click.Option) and option.name not in ("help", "version"):
            assert option.help, f"{option.name} is not explained"


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["statsu"], "Did you mean `thingroom status`?"),
        (["gateway", "devcies"], "Did you mean `thingroom gateway devices`?"),
        (["homeserver", "admin", "list-user"], "Did you mean `thingroom homeserver admin list-users`?"),
        (["xyzzy"], "See: thingroom --help"),
    ],
)
def test_a_slip_is_answered_with_what_was_meant(words, meant):
    said = CliRunner().invoke(main, words, prog_name="thingroom")
    assert said.exit_code == 2 and meant in said.output


def test_where_there_is_nothing_every_command_says_how_to_begin(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in (["gateway", "devices"], ["gateway", "pair"], ["history", "Kitchen"], ["gateway", "register"]):
        said = CliRunner().invoke(main, words)
        assert said.exit_code == 1 and "Begin with `thingroom run`" in said.output, (words, said.output)
        assert "Traceback" not in said.output
    assert not list(tmp_path.iterdir())
