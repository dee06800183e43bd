"""One commented TOML file becomes a tree of frozen msgspec Structs, and back.

Each program declares its section as a `msgspec.Struct(frozen=True, forbid_unknown_fields=True, kw_only=True)` whose
fields are `Annotated[type, Meta(description=...)]` with a default. Loading refuses unknown keys and wrong types with
the file and the key; `example` writes the same tree as a TOML file in which every key is explained and commented out.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec

T = TypeVar("T", bound=msgspec.Struct)


class ConfigError(Exception):
    """The configuration cannot be used; the message is one sentence for the person who wrote it."""


def default_path() -> Path:
    """The file that is meant when none is named: ./thingroom.toml, else what `thingroom run` settled in ./data."""
    own, settled = Path("thingroom.toml"), Path("data/run/programs.toml")
    return settled if settled.exists() and not own.exists() else own


def settled_path(path: Path) -> Path:
    """What `thingroom run` made of the person's file `path`, below the same directory; `path` where it made nothing."""
    settled = path.parent / "run" / "programs.toml"
    return settled if path.name == "thingroom.toml" and settled.exists() else path


def load(path: Path, kind: type[T]) -> T:
    """Read `path` as TOML into `kind`. Raises ConfigError."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"{path} does not exist. Begin with `thingroom run`, or write one with: thingroom config > {path}"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from None
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {_in_toml_words(str(error))}.") from None


def example(kind: type[msgspec.Struct], section: str = "") -> str:
    """The commented TOML text for `kind`: every key with its description and default, commented out.

    A list of structs is shown as an array of tables, one for each struct of the default.
    """
    lines: list[str] = []
    tables: list[str] = []
    hints = get_type_hints(kind, include_extras=True)
    for field in msgspec.structs.fields(kind):
        default = field.default if field.default is not msgspec.NODEFAULT else _made(field.default_factory)
        if isinstance(default, msgspec.Struct):
            name = f"{section}.{field.name}" if section else field.name
            tables.append(f"[{name}]\n{example(type(default), name)}")
            continue
        described = [f"# {line}" for line in _description(hints[field.name])]
        if isinstance(default, tuple) and default and all(isinstance(item, msgspec.Struct) for item in default):
            name = f"{section}.{field.name}" if section else field.name
            tables.append("\n".join((*described, *(f"# [[{name}]]\n{example(type(item), name)}" for item in default))))
            continue
        lines.extend(described)
        lines.append(f"# {field.name} = {_toml(default)}")
        lines.append("")
    return "\n".join(lines + tables)


def _made(factory: Any) -> Any:
    return None if factory is msgspec.NODEFAULT else factory()


def _description(hint: Any) -> list[str]:
    if get_origin(hint) is not Annotated:
        return []
    texts = [extra.description for extra in get_args(hint)[1:] if isinstance(extra, msgspec.Meta) and extra.description]
    return [line.strip() for text in texts for line in text.strip().splitlines()]


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    text = "" if value is None else str(value)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _in_toml_words(message: str) -> str:
    for theirs, ours in (
        ("Object contains unknown field", "there is no key"),
        ("Object missing required field", "a key is missing:"),
        (" - at `$.", " - in `"),
        (" - at `$`", " at the top"),
    ):
        message = message.replace(theirs, ours)
    return message
