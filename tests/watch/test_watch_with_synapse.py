"""The owner's room is on our server, the integrator on Synapse: invited, reads and verifies, is let go."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.federation.federated_house import eventually
from tests.federation.synapse_sides import Sides, sides
from tests.flows.gateway_stack import Device
from tests.homeserver.running import escape
from tests.watch.owners_house import Command, House, keep_account, lines_of, run
from tests.watch.signed_room import damaged, state_of

__all__ = ["sides"]


@pytest.mark.asyncio(loop_scope="module")
async def test_an_integrator_on_synapse(sides: Sides, tmp_path: Path) -> None:
    house = await House.build(sides.alice)
    kitchen, garden = Device("Kitchen"), Device("Garden")
    await house.device(kitchen)
    history = [kitchen.climate(200 + number, 40) for number in range(6)]
    for envelope in history[:3]:
        await house.readings(kitchen, envelope)
    kitchen.sequence += 10  # reserved before a reset
    after_reset = kitchen.climate(207, 41)
    await house.readings(kitchen, history[5], after_reset)

    # Invited: the watcher accepts, and reads and verifies what was before.
    home, out = tmp_path / "home", tmp_path / "kitchen.jsonl"
    keep_account(home, sides.bob)
    await house.invite(sides.bob)
    words = ("watch", house.room_id, "--home", str(home), "--from-beginning", "--to", f"jsonl:{out}")
    await run(*words, "--until-now")
    told = lines_of(out)
    assert [line["verdict"] for line in told if line["kind"] == "key"] == ["notice"]
    readings = [line for line in told if line["kind"] == "reading" and line["quantity"] == "temperature"]
    assert [(line["sequence"], line["value"]) for line in readings] == [
        *((1, "20.0"), (2, "20.1"), (3, "20.2"), (6, "20.5"), (17, "20.7")),
    ]
    assert {(line["verdict"], line["trust"]) for line in readings} == {("valid", "room")}
    named = [(line["verdict"], line["sequence"], line["last_sequence"]) for line in told if line["kind"] == "gap"]
    assert named == [("missing", 4, 5), ("skipped", 7, 16)]

    def newest(verdict: str, reason: str | None = None) -> bool:
        last = lines_of(out)[-1]
        return (last["verdict"], last.get("reason")) == (verdict, reason)

    async with Command(*words) as command:
        # Live, from where it stopped.
        live = await house.readings(kitchen, kitchen.climate(210, 42))
        await eventually(lambda: lines_of(out)[-1]["event_id"] == live)
        assert newest("valid")
        # A member forges, and repeats what was true once.
        mallory = await sides.peer.register("mallory")
        await house.invite(mallory)
        (await mallory.post(f"v3/join/{escape(house.room_id)}")).ok()
        await house.readings(kitchen, damaged(history[0], -1), by=mallory)
        await eventually(lambda: newest("forged", "bad_signature"))
        await house.readings(kitchen, history[0], by=mallory)
        await eventually(lambda: newest("replayed"))
        # The owner's server swaps a key: under the device's id it cannot, under its name it is noticed.
        await house.state("org.thingroom.device", kitchen.kid.hex(), state_of(garden))
        await eventually(lambda: newest("alarm", "unusable"))
        await house.device(kitchen)
        await house.device(garden, name="Kitchen")
        await eventually(lambda: newest("alarm", "changed"))
        await house.readings(garden, garden.climate(1, 1))
        await eventually(lambda: lines_of(out)[-1].get("trust") == "changed")
        # A key is revoked: what it signed before stays valid, what comes after is not.
        await house.device(kitchen, "revoked")
        await eventually(lambda: newest("notice", "revoked"))
        await house.readings(kitchen, kitchen.climate(220, 43))
        await eventually(lambda: newest("revoked-key"))
        # The end of the invitation is the end of the flow.
        kick = {"user_id": sides.bob.user_id, "reason": "the contract is over"}
        (await sides.alice.post(f"v3/rooms/{escape(house.room_id)}/kick", kick)).ok()
        code, _, complaints = await command.finish()
        assert code == 3
        assert "the contract is over" in complaints
    length = len(lines_of(out))
    await house.readings(garden, garden.climate(2, 2))
    await run(*words, wanted=3)
    assert len(lines_of(out)) == length
