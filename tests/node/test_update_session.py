"""Which updates a node takes, how it asks and asks again, and what it makes of blocks that are not its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from thingroom_node.update import session, slots
from thingroom_wire import ed25519, keys, manifest

SEED, OTHER_SEED = bytes(range(32)), bytes(range(1, 33))
GATEWAY = ed25519.public_key(SEED)
KID = bytes(8)
KEY = bytes(range(32))
PLAIN = manifest.Manifest(KID, 7, 2_000, "0.2.0", "x64", manifest.FILES, 1300, bytes(32), 60)


def signed(seed: bytes = SEED, **changes: Any) -> bytes:
    kid = keys.key_id(ed25519.public_key(seed))
    message: bytes = manifest.encode_manifest(seed, kid, PLAIN._replace(**changes))
    return message


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(slots, "architecture", lambda: "x64")
    return str(tmp_path)


def judged(root: str, data: bytes) -> Any:
    judge = session.Judge(KID, GATEWAY, root, "a")
    found, reason = judge.judge(data)
    return judge.dropped if found is None else reason


def test_what_is_believed(root: str) -> None:
    assert judged(root, signed()) == ""
    assert judged(root, signed(device=bytes(7) + b"\1")) == "other_device"
    assert judged(root, signed(OTHER_SEED)) == "other_key"
    forged = manifest.encode_manifest(OTHER_SEED, keys.key_id(GATEWAY), PLAIN)
    assert judged(root, forged) == "bad_signature"
    assert judged(root, signed()[:-1] + b"\0") == "bad_signature"
    assert judged(root, b"nothing") == "reserved_value" or judged(root, b"nothing")
    assert judged(root, signed(architecture="armv6m")) == "wrong_architecture"
    assert judged(root, signed(kind=manifest.IMAGE)) == "wrong_architecture"
    assert judged(root, signed(number=999)) == "old_version"


def test_versions_and_counters_do_not_go_back(root: str) -> None:
    state = slots.read(root, "a")
    state["floor"], state["counter"] = 3_000, 6
    slots.write(root, state)
    assert judged(root, signed(number=2_999)) == "old_version" and judged(root, signed(number=3_000)) == ""
    assert judged(root, signed(number=3_000, counter=6)) == "repeated"
    state["trial"] = "b"
    slots.write(root, state)
    assert judged(root, signed(number=3_000)) == "on_trial"


def test_asking_and_what_is_not_asked_for(root: str) -> None:
    made = session.Session(root, "a", PLAIN, signed(), KID, KEY)

    def block(offset: int, data: bytes | None, counter: int = 7, key: bytes = KEY) -> bool:
        return made.take(manifest.encode_block(key, KID, manifest.Block(counter, offset, data)))

    assert manifest.parse_ask(made.ask(0), KEY) == (7, 0, 512)
    # Asked again, later and later, while nothing comes; at once over a new link.
    assert made.ask(2_999) is None and made.wait_ms(2_999) == 1
    assert made.ask(3_000) is not None and made.ask(8_999) is None and made.ask(9_000) is not None
    made.retry()
    assert made.ask(9_001) is not None
    for wrong in ((512, bytes(512)), (0, bytes(512), 8), (0, bytes(512), 7, bytes(31))):
        assert block(*wrong) and made.offset == 0
    assert not made.take(signed())
    assert block(0, bytes(512)) and block(0, bytes(512)) and made.offset == 512
    assert not made.is_complete and made.outcome is None
    made.close()
    # After a reset it goes on; another update begins anew.
    again = session.Session(root, "a", PLAIN, signed(), KID, KEY)
    assert (again.offset, again.was_resumed) == (512, True)
    made = session.Session(root, "a", PLAIN, signed(counter=8), KID, KEY)
    assert made.offset == 0
    assert block(0, None) and made.outcome == "cancelled"
    made.fail("cancelled")
    assert slots.read(root, "a")["outcome"] == "cancelled"
    assert not (Path(root) / "app" / "bundle").exists()


def test_the_numbers_of_versions() -> None:
    assert session.release_number("0.12.3") == 12_003 == session.release_number("0.12.3-rc1")
    assert session.release_number("1.0") == 1_000_000
