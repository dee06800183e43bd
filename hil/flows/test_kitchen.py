"""The kitchen gets warm: from a part on the I2C bus to somebody who lives on another server."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import nio
import pytest
from hil.conftest import Bench
from hil.flows.house import SECONDS, THERMOMETER, House
from tests.federation.peers import running_synapse_peer
from tests.flows.readings import Proven, proven_readings
from tests.gateway.bot_home import Person
from tests.patience import tries

pytestmark = pytest.mark.asyncio(loop_scope="module")


def temperatures(readings: list[Proven]) -> list[Decimal]:
    """The values of readings that have nothing but a temperature (RFC 8428: label 2), in the order of their numbers."""
    return [Decimal(str(one.records[0][2])) for one in sorted(readings, key=lambda one: one.sequence)]


@pytest.mark.parametrize("bench", ["cortex-m3"], indirect=True)
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

    async with asyncio.timeout(SECONDS):
        while Decimal(21) not in temperatures(await house.readings(owner.client, room, kid)):
            await asyncio.sleep(0.2)

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
            # Whoever reads checks every signature, with PyNaCl and cbor2.
            for _ in tries():
                seen = [reading for reading in await proven_readings(client, room) if reading.device == kid]
                if {reading.sequence for reading in seen} >= made:
                    break
            values = temperatures(seen)
            assert {reading.sequence for reading in seen} == made
            assert Decimal(21) in values and values[-1] == Decimal("31.5"), values
        finally:
            await client.close()
