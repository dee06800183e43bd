"""matrix-nio with its encryption against the homeserver: two devices verify each other and talk in secret.

nio encrypts by vodozemac, which the extra `matrix-nio[e2e]` brings.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import nio
from nio.crypto import ENCRYPTION_ENABLED
from tests.homeserver.running import PASSWORD, RunningHomeserver, escape, make_config, running_homeserver

ENCRYPTION = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
ROUNDS = 12


class Device:
    """An encrypting nio client that remembers what it read."""

    def __init__(self, client: nio.AsyncClient) -> None:
        self.client = client
        self.read: list[str] = []
        self.unreadable: list[nio.MegolmEvent] = []
        self.verification: list[nio.KeyVerificationEvent] = []
        client.add_event_callback(self._note_text, nio.RoomMessageText)
        client.add_event_callback(self._note_unreadable, nio.MegolmEvent)
        client.add_to_device_callback(self._note_verification, (nio.KeyVerificationEvent,))

    async def _note_text(self, room: nio.MatrixRoom, event: nio.RoomMessageText) -> None:
        assert event.decrypted
        self.read.append(event.body)

    async def _note_unreadable(self, room: nio.MatrixRoom, event: nio.MegolmEvent) -> None:
        self.unreadable.append(event)

    async def _note_verification(self, event: nio.KeyVerificationEvent) -> None:
        self.verification.append(event)

    async def step(self) -> None:
        """What nio's own loop does: sync, and send whatever the crypto machine wants to send."""
        client = self.client
        good(await client.sync(timeout=0), nio.SyncResponse)
        if client.should_upload_keys:
            good(await client.keys_upload(), nio.KeysUploadResponse)
        if client.should_query_keys:
            good(await client.keys_query(), nio.KeysQueryResponse)
        if client.should_claim_keys:
            good(await client.keys_claim(client.get_users_for_key_claiming()), nio.KeysClaimResponse)
        for sent in await client.send_to_device_messages():
            good(sent, nio.ToDeviceResponse)

    def device_of(self, other: Device) -> Any:
        return self.client.device_store[other.client.user_id].get(other.client.device_id)

    def sas(self) -> Any:
        return next(iter(self.client.key_verifications.values()))


def good(response: Any, kind: type) -> Any:
    """The response, if it is of that kind; nio answers errors with values of other kinds."""
    assert isinstance(response, kind), response
    return response


@contextlib.asynccontextmanager
async def device(server: RunningHomeserver, name: str, folder: Path, *, is_new: bool = True) -> AsyncIterator[Device]:
    """`name`, signed in on a device of its own whose keys lie in `folder`."""
    folder.mkdir()
    config = nio.AsyncClientConfig(encryption_enabled=True, store_sync_tokens=True)
    if is_new:
        await server.register(name)
    client = nio.AsyncClient(server.base_url, f"@{name}:localhost", store_path=str(folder), config=config)
    try:
        good(await client.login(PASSWORD, f"{name}'s {folder.name}"), nio.LoginResponse)
        yield Device(client)
    finally:
        await client.close()


async def until(devices: tuple[Device, ...], done: Callable[[], Any]) -> None:
    for _ in range(ROUNDS):
        if done():
            return
        for each in devices:
            await each.step()
    assert done()


async def say(sender: Device, room_id: str, text: str) -> None:
    content = {"msgtype": "m.text", "body": text}
    good(await sender.client.room_send(room_id, "m.room.message", content), nio.RoomSendResponse)


Wait = Callable[[tuple[Device, ...], Callable[[], Any]], Awaitable[None]]


async def verify(one: Device, other: Device, wait: Wait = until) -> None:
    """Compare short authentication strings, as two people do it by looking at both screens."""
    both = (one, other)
    good(await one.client.start_key_verification(one.device_of(other)), nio.ToDeviceResponse)
    await wait(both, lambda: other.client.key_verifications)
    transaction_id = other.sas().transaction_id
    good(await other.client.accept_key_verification(transaction_id), nio.ToDeviceResponse)
    await wait(both, lambda: one.sas().established_sas and other.sas().established_sas)
    assert one.sas().get_emoji() == other.sas().get_emoji()
    for each in both:
        good(await each.client.confirm_short_auth_string(transaction_id), nio.ToDeviceResponse)
    await wait(both, lambda: one.device_of(other).verified and other.device_of(one).verified)


async def test_two_devices_verify_and_talk_in_secret(tmp_path: Path) -> None:
    assert ENCRYPTION_ENABLED, "matrix-nio is installed without its extra e2e"
    async with (
        running_homeserver(make_config(tmp_path / "data")) as server,
        device(server, "alice", tmp_path / "phone") as alice,
        device(server, "bob", tmp_path / "laptop") as bob,
    ):
        both = (alice, bob)
        created = await alice.client.room_create(initial_state=[ENCRYPTION], invite=["@bob:localhost"])
        room_id = good(created, nio.RoomCreateResponse).room_id
        good(await bob.client.join(room_id), nio.JoinResponse)
        await until(both, lambda: alice.device_of(bob) and bob.device_of(alice))
        assert alice.client.rooms[room_id].encrypted
        await verify(alice, bob)

        await say(alice, room_id, "the key is under the mat")
        await until(both, lambda: bob.read)
        await say(bob, room_id, "found it")
        await until(both, lambda: "found it" in alice.read)
        assert bob.read == ["the key is under the mat", "found it"]
        assert alice.unreadable == bob.unreadable == []
        plain = server.client(alice.client.access_token)
        page = (await plain.get(f"v3/rooms/{escape(room_id)}/messages", dir="b", limit=2)).ok()["chunk"]
        assert [event["type"] for event in page] == ["m.room.encrypted", "m.room.encrypted"]

        # A further device of Bob's shows up in Alice's client by itself, unverified: nio refuses to encrypt to it.
        async with device(server, "bob", tmp_path / "tablet", is_new=False) as tablet:
            await until((tablet, alice), lambda: alice.device_of(tablet))
            assert not alice.device_of(tablet).verified
            alice.client.verify_device(alice.device_of(tablet))
            await until((tablet,), lambda: room_id in tablet.client.rooms)
            await say(alice, room_id, "for all of you")
            await until((tablet, bob), lambda: "for all of you" in tablet.read and "for all of you" in bob.read)
            good(await tablet.client.logout(), nio.LogoutResponse)
        await until((alice,), lambda: alice.device_of(tablet) is None or alice.device_of(tablet).deleted)
