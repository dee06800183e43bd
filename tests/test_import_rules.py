"""The order of the packages, held by reading every import in the source."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE_ROOTS = ("app", "common", "firmware", "gateway", "homeserver", "watch")

# What each package may import of ours, itself always included. The first match by prefix counts.
ALLOWED = {
    "thingroom_wire": set(),
    "thingroom_node": {"thingroom_wire"},
    "thingroom_common": set(),
    "thingroom_gateway": {"thingroom_wire", "thingroom_common"},
    "thingroom_watch": {"thingroom_wire"},
    "thingroom_homeserver.core": set(),
    "thingroom_homeserver.storage": {"thingroom_homeserver.core", "thingroom_common"},
    "thingroom_homeserver": {"thingroom_homeserver", "thingroom_common"},
    "thingroom": {
        "thingroom_common",
        "thingroom_gateway",
        "thingroom_homeserver",
        "thingroom_node",
        "thingroom_watch",
        "thingroom_wire",
    },
}
# Inside the homeserver each layer knows only what stands before it.
OUTERMOST = {"client_api", "appservice_api", "federation", "federation_api", "services", "server"}
HOMESERVER_FORBIDDEN = {
    "core": OUTERMOST | {"storage", "rooms", "sync", "sliding", "http", "accounts", "media", "encryption", "push"},
    "storage": OUTERMOST | {"rooms", "sync", "sliding", "http", "accounts", "media", "encryption", "push"},
    "rooms": OUTERMOST | {"sync", "sliding", "http", "accounts", "media", "encryption", "push"},
    "sync": OUTERMOST | {"sliding", "http", "accounts", "media", "encryption", "push"},
    "sliding": OUTERMOST | {"http", "accounts", "media", "encryption", "push"},
    "accounts": OUTERMOST | {"rooms", "sync", "sliding", "http", "media", "encryption", "push"},
    "media": OUTERMOST | {"rooms", "sync", "sliding", "http", "accounts", "encryption", "push"},
    "outgoing": OUTERMOST | {"storage", "rooms", "sync", "sliding", "http", "accounts", "media", "encryption", "push"},
    "encryption": OUTERMOST | {"sync", "sliding", "http", "push"},
    "push": OUTERMOST | {"sync", "sliding"},
    "federation": (OUTERMOST - {"federation"}) | {"sync", "sliding", "push"},
    "federation_api": {"server", "client_api", "appservice_api"},
    "client_api": {"server", "appservice_api", "federation_api"},
    "appservice_api": {"server", "client_api", "federation", "federation_api"},
}
# Pure code may not reach the world outside.
IMPURE = {"asyncio", "aiohttp", "sqlite3", "socket", "time", "logging", "subprocess", "threading", "random"}
PURE_PACKAGES = (
    "thingroom_homeserver.core",
    "thingroom_wire",
    "thingroom_watch.verify",
    "thingroom_watch.device_state",
    "thingroom_watch.trust",
)
# Modules that only a board or MicroPython has; one file of the firmware may import them.
BOARD_ONLY = {"machine", "network", "esp32", "rp2"}


def _modules():
    for root in SOURCE_ROOTS:
        base = ROOT / root
        for path in sorted(base.rglob("*.py")):
            parts = path.relative_to(base).with_suffix("").parts
            name = ".".join(part for part in parts if part != "__init__")
            if name.startswith("thingroom"):
                yield name, path


MODULES = list(_modules())


def _imports(name: str, path: Path) -> set[str]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                stem = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*stem, base]).rstrip(".")
            found.update(f"{base}.{alias.name}" for alias in node.names)
    return found


def _within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def test_there_is_something_to_check():
    names = {name for name, _ in MODULES}
    assert {"thingroom_wire.cbor", "thingroom_gateway.ingest", "thingroom_homeserver.core.event"} <= names


@pytest.mark.parametrize(("name", "path"), MODULES, ids=[name for name, _ in MODULES])
def test_imports_go_one_way(name: str, path: Path):
    package = next(prefix for prefix in ALLOWED if _within(name, prefix))
    allowed = ALLOWED[package] | {package}
    for module in _imports(name, path):
        if module.split(".")[0].startswith("thingroom"):
            assert any(_within(module, other) for other in allowed), f"{name} may not import {module}"


@pytest.mark.parametrize(("name", "path"), MODULES, ids=[name for name, _ in MODULES])
def test_homeserver_layers_point_down(name: str, path: Path):
    parts = name.split(".")
    if parts[0] != "thingroom_homeserver" or len(parts) < 2:
        return
    for module in _imports(name, path):
        target = module.split(".")
        if target[0] == "thingroom_homeserver" and len(target) > 1:
            assert target[1] not in HOMESERVER_FORBIDDEN.get(parts[1], set()), f"{name} may not import {module}"


@pytest.mark.parametrize(("name", "path"), MODULES, ids=[name for name, _ in MODULES])
def test_pure_code_stays_pure_and_boards_have_one_door(name: str, path: Path):
    roots = {module.split(".")[0] for module in _imports(name, path)}
    if any(_within(name, package) for package in PURE_PACKAGES):
        assert not roots & IMPURE, f"{name} is pure and may not import {sorted(roots & IMPURE)}"
    if name != "thingroom_node.board":
        assert not roots & BOARD_ONLY, f"only thingroom_node.board may import {sorted(roots & BOARD_ONLY)}"
