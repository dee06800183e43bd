"""The kitchen gets warm: from a part on the I2C bus to somebody who lives on another server."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import cbor2
import nio
import pytest
from hil.conftest import Bench
from hil.flows.house import SECONDS, THERMOMETER, House
from pycose.keys import OKPKey
from pycose.messages import Sign1Message
from tests.federation.peers import running_synapse_peer
from tests.flows.readings import device_keys, proven_readings, timeline, unpadded
from tests.gateway.bot_home import Person
from tests.patience import tries

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def proven_by_pycose(client: nio.AsyncClient, room: str, kid: str) -> int:
    """How many envelopes of the device a standard COSE library finds rightly signed. Raises where one is not."""
    key = OKPKey(crv="ED25519", x=(await device_keys(client, room))[kid])
    found = 0
    for event in await timeline(client, room):
        if event["type"] == "org.thingroom.readings" and event["content"]["device"] == kid:
            for text in event["content"]["envelopes"]:
                message = Sign1Message.from_cose_obj(list(cbor2.loads(unpadded(text)).value), True)
                message.key = key
                assert message.verify_signature()
                found += 1
    return found


def temperatures(records: list[list[dict[int, Any]]]) -> list[Decimal]:
    """The values of packs that have nothing but a temperature (RFC 8428: label 2)."""
    return [Decimal(str(pack[0][2])) for pack in records]


async def test_it_gets_warm_and_a_friend_elsewhere_sees_it(house: House, bench: Bench, tmp_path: Path) -> None:
    board, record, owner = bench.board, bench.record, house.owner
    board.configure(house.settings(board, "Kitchen", "serial", **THERMOMETER))
    await board.power_on()
    await board.set_sensor("tmp105", "temperature", Decimal(21))
    kid = (await board.console.event("key"))["kid"]
    await board.console.event("enrolled")
    room = await owner.room("Kitchen")
    answer = await owner.ask(room, "!alert when temperature above 30")
    assert "Temperature above 30 °C" in answer, answer

    await board.set_sensor("tmp105", "temperature", Decimal("31.5"))
    record.note("warmed", "31.5 °C")
    alert = await owner.until(room, lambda event: "above 30 °C" in str(event["content"].get("body", "")), SECONDS)
    assert alert["content"]["body"] == "⚠️ Kitchen: Temperature is 31.5 °C, above 30 °C.", alert
    record.note("alert", alert["content"]["body"])

    async with running_synapse_peer(tmp_path / "synapse", house.authority) as synapse:
        account = await synapse.register("bob")
        client = nio.AsyncClient(synapse.base_url, account.user_id)
        client.restore_login(account.user_id, "phone", account.access_token)
        try:
            bob = Person(client, owner.bot)
            invited = await owner.client.room_invite(room, account.user_id)
            assert isinstance(invited, nio.RoomInviteResponse), invited
            assert await bob.room("Kitchen") == room
            record.note("joined", "from a federated Synapse")
            await house.settle(board, record, room, kid)
            made = set(record.sampled)
            for _ in tries():
                seen = [reading for reading in await proven_readings(client, room) if reading.device == kid]
                if {reading.sequence for reading in seen} >= made:
                    break
            values = temperatures([reading.records for reading in sorted(seen, key=lambda one: one.sequence)])
            assert {reading.sequence for reading in seen} == made
            assert Decimal(21) in values and values[-1] == Decimal("31.5"), values
            assert await proven_by_pycose(client, room, kid) == len(made)
        finally:
            await client.close()
