"""Configuration: unknown keys and wrong types are refused in a person's words; the example is true."""

from pathlib import Path
from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from thingroom_common.config_file import ConfigError, default_path, example, load, settled_path


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    port: Annotated[int, Meta(ge=1, le=65535, description="Where to listen.")] = 8008
    names: Annotated[tuple[str, ...], Meta(description="Two lines\nof words.")] = ("a", 'say "b"')


class Item(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    size: Annotated[int, Meta(description="How large.")] = 1


class Outer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    quiet: Annotated[bool, Meta(description="Say less.")] = False
    inner: Inner = Inner()
    items: Annotated[tuple[Item | str, ...], Meta(description="One for each.")] = (Item(), Item())


def write(tmp_path, text):
    path = tmp_path / "thing.toml"
    path.write_text(text)
    return path


def test_an_empty_file_is_all_defaults(tmp_path):
    assert load(write(tmp_path, ""), Outer) == Outer()


def test_the_example_is_all_comments_and_uncommented_gives_the_defaults(tmp_path):
    text = example(Outer)
    assert load(write(tmp_path, text), Outer) == Outer()
    uncommented = "\n".join(
        line.removeprefix("# ") if " = " in line or "[[" in line else line for line in text.splitlines()
    )
    assert uncommented != text
    assert load(write(tmp_path, uncommented), Outer) == Outer()
    assert "# Two lines\n# of words.\n# names = [" in text
    assert "# One for each.\n# [[items]]\n# How large.\n# size = 1\n" in text
    assert text.count("# [[items]]") == 2


def test_an_array_of_tables_may_hold_plain_strings_where_the_type_says_so(tmp_path):
    assert load(write(tmp_path, 'items = ["a", {size = 2}]'), Outer).items == ("a", Item(size=2))
    assert load(write(tmp_path, "[[items]]\nsize = 3\n[[items]]\n"), Outer).items == (Item(size=3), Item())
    with pytest.raises(ConfigError, match=r"there is no key `sise` - in `items\[0\]`"):
        load(write(tmp_path, "[[items]]\nsise = 3"), Outer)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("quite = true", "there is no key `quite`"),
        ("[inner]\nprot = 1", "there is no key `prot` - in `inner`"),
        ("[inner]\nport = 'x'", "in `inner.port`"),
        ("[inner]\nport = 70000", "in `inner.port`"),
        ("[inner\n", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_key(tmp_path, text, words):
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text), Outer)
    assert "thing.toml" in str(caught.value)
    assert words in str(caught.value)


def test_a_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(
        ConfigError, match=r"does not exist\. Begin with `thingroom run`, or write one with: thingroom config >"
    ):
        load(tmp_path / "none.toml", Outer)


def test_bytes_that_are_not_text_are_refused(tmp_path):
    path = tmp_path / "thing.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(path, Outer)


def test_without_a_name_it_is_the_file_here_else_the_one_that_run_settled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert default_path() == Path("thingroom.toml")
    (tmp_path / "data" / "run").mkdir(parents=True)
    (tmp_path / "data" / "run" / "programs.toml").touch()
    assert default_path() == Path("data/run/programs.toml")
    (tmp_path / "thingroom.toml").touch()
    assert default_path() == Path("thingroom.toml")


def test_what_run_settled_is_meant_by_the_persons_file(tmp_path: Path) -> None:
    own, settled = tmp_path / "thingroom.toml", tmp_path / "run" / "programs.toml"
    own.touch()
    assert settled_path(own) == own
    settled.parent.mkdir()
    settled.touch()
    assert settled_path(own) == settled_path(settled) == settled
    assert settled_path(tmp_path / "other.toml") == tmp_path / "other.toml"
