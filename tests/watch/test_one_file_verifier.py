"""The verifier in one file says what the library says, on good and on damaged rooms; it imports two packages."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.flows.gateway_stack import Device
from tests.watch.signed_room import SignedRoom, damaged, fed, judged

from thingroom_watch import Verdict
from thingroom_wire.keys import thumbprint

FILE = Path(__file__).parents[2] / "watch" / "verify_readings.py"
sys.path.insert(0, str(FILE.parent))

from verify_readings import verify  # noqa: E402

DEVICES = [Device("Kitchen"), Device("Garden")]
ENVELOPES = [[device.climate(number, 40) for number in range(1, 6)] for device in DEVICES]
WHO = st.integers(0, 1)
WHICH = st.integers(0, 4)
STEPS = st.one_of(
    st.tuples(st.just("state"), WHO, st.sampled_from(["active", "revoked", "moved"])),
    st.tuples(st.just("swapped"), WHO, st.none()),
    st.tuples(st.just("readings"), WHO, st.lists(WHICH, max_size=4)),
    st.tuples(st.just("damaged"), WHO, st.tuples(WHICH, st.integers(0, 3000))),
    st.tuples(st.just("cut"), WHO, st.tuples(WHICH, st.integers(0, 250))),
)


def room_of(steps) -> SignedRoom:
    room = SignedRoom()
    for kind, who, what in steps:
        device, envelopes = DEVICES[who], ENVELOPES[who]
        if kind == "state":
            room.device(device, what)
        elif kind == "swapped":
            room.device(device)["content"]["key"] = room.device(DEVICES[1 - who])["content"]["key"]
        elif kind == "readings":
            room.readings(device, *(envelopes[which] for which in what))
        elif kind == "damaged":
            room.readings(device, damaged(envelopes[what[0]], what[1]))
        else:
            room.readings(device, envelopes[what[0]][: what[1]])
    return room


@settings(deadline=None, max_examples=200)
@given(st.lists(STEPS, max_size=12))
def test_it_agrees_with_the_library(steps):
    events = room_of([("state", 0, "active"), *steps]).events
    ours = [
        (one.event_id, one.index, str(one.verdict), one.device, one.sequence)
        if one.verdict is not Verdict.FORGED
        else (one.event_id, one.index, "forged", "", 0)
        for one in judged(fed(events))
    ]
    assert [line[:5] for line in verify(events)] == ours


def test_it_runs_on_a_file_and_only_pinned_keys_count(tmp_path: Path):
    room = SignedRoom()
    for device, envelopes in zip(DEVICES, ENVELOPES, strict=True):
        room.device(device)
        room.readings(device, envelopes[0])
    file = tmp_path / "events.jsonl"
    file.write_text("".join(json.dumps(event) + "\n" for event in room.events))
    pinned = thumbprint(DEVICES[0].public_key).hex()

    def run(*pins: str) -> list[str]:
        ran = subprocess.run([sys.executable, FILE, file, *pins], capture_output=True, text=True, check=True)
        return [line.split()[2] for line in ran.stdout.splitlines()]

    assert run() == ["valid", "valid"]
    assert run(pinned) == ["valid", "forged"]


def test_it_needs_nothing_else():
    found = set()
    for node in ast.walk(ast.parse(FILE.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).split(".")[0])
    assert {name.split(".")[0] for name in found} - sys.stdlib_module_names == {"cbor2", "nacl"}
