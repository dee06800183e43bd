"""What a watcher keeps between runs besides its journals: the account's token, and which keys are trusted.

Files of JSON, mode 0600, in one folder; written whole and renamed. May import trust. cli.py reads and writes them.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from thingroom_watch.trust import RoomTrust


@dataclass(frozen=True, slots=True)
class Account:
    """A session on a homeserver."""

    homeserver: str
    user_id: str
    device_id: str
    access_token: str


def default_folder() -> Path:
    """$XDG_STATE_HOME/thingroom-watch, else ~/.local/state/thingroom-watch."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "thingroom-watch"


def load_account(folder: Path) -> Account | None:
    said = _load(folder / "account.json")
    return Account(**said) if said else None


def save_account(folder: Path, account: Account) -> None:
    _save(folder / "account.json", asdict(account))


def load_trust(folder: Path, room_id: str) -> RoomTrust:
    said = _load(folder / "trust.json").get(room_id, {})
    return RoomTrust(set(said.get("pinned", [])), dict(said.get("first", {})), set(said.get("changed", [])))


def save_trust(folder: Path, room_id: str, trust: RoomTrust) -> None:
    """Add what is known of a room; another watcher may have added something meanwhile."""
    everything, known = _load(folder / "trust.json"), load_trust(folder, room_id)
    everything[room_id] = {
        "pinned": sorted(known.pinned | trust.pinned),
        "first": {**trust.first, **known.first},
        "changed": sorted(known.changed | trust.changed),
    }
    _save(folder / "trust.json", everything)


def _load(path: Path) -> dict[str, Any]:
    """Raises ValueError if somebody else wrote it."""
    if not path.exists():
        return {}
    said = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(said, dict):
        raise ValueError(f"{path} is not what was written there")
    return said


def _save(path: Path, said: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(said, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
