"""The queue of updates: one at a time of each device, announced until it is taken, served until it is over.

An update is a row before anybody hears of it, and so survives every restart. Ingest gives hellos, which tell what came
of it, and questions for blocks. Of a campaign the first device goes ahead; the others follow when it runs the new
version. May import storage, devices, commands.queue (how to reach a device), firmware_image.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from nacl.signing import SigningKey

from thingroom_common.database import Database, Transaction
from thingroom_common.firmware_image import Image, ImageError, build, release_number
from thingroom_gateway.commands.queue import CommandQueue
from thingroom_gateway.counters import Counters
from thingroom_gateway.devices import ACTIVE, Device, Registry
from thingroom_gateway.gateway_keys import GatewayKeys
from thingroom_gateway.matrix_event import MESSAGE_TYPE
from thingroom_gateway.storage import outbox, updates
from thingroom_gateway.updates.update import OPEN, State, Update, signed_manifest, spoken
from thingroom_wire.manifest import Block

logger = logging.getLogger(__name__)

TICK_SECONDS: Final = 1.0
# How long after a device was told of its update it is told again, while it does not fetch it.
AGAIN_MS: Final = (5_000, 15_000, 60_000, 300_000, 900_000)


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was queued; `reason` is a sentence."""

    reason: str


@dataclass(slots=True)
class _Open:
    """An update that is not over; `fetched` bytes of it were asked for. Times in Unix ms."""

    update: Update
    fetched: int = 0
    told_at: int = 0
    tries: int = 0
    building: bool = False


class Updates:
    """Owns the updates that are not over. `kick` wakes the outbox; `patience` is in seconds.

    `watchers` are called when one changes its state. `make` builds an image, as firmware_image.build.
    """

    def __init__(
        self,
        database: Database,
        registry: Registry,
        keys: GatewayKeys,
        counters: Counters,
        commands: CommandQueue,
        patience: int,
        now_ms: Callable[[], int],
        kick: Callable[[], None],
        make: Callable[[str, str | None, Path | None], Image] = build,
    ) -> None:
        self._database = database
        self._registry = registry
        self._key = SigningKey(keys.signing_seed)
        self._kid = keys.kid
        self._counters = counters
        self._commands = commands
        self.patience = patience
        self._now_ms = now_ms
        self._kick = kick
        self._make = make
        self._open: dict[int, _Open] = {one.device: _Open(one) for one in database.read(updates.open_updates)}
        self._bundles: dict[bytes, bytes] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.watchers: list[Callable[[Update], None]] = []

    # --- asking ------------------------------------------------------------------------------------------------------

    def why_not(self, device: Device, version: str) -> str:
        """Why `device` cannot be updated to `version`, in a sentence; empty if it can."""
        name = device.row.name
        if device.row.attested:
            return f"{name} has no Thingroom firmware and is updated by its own means."
        if device.row.status != ACTIVE:
            return f"{name} is not active here."
        if device.row.id in self._open:
            return f"{name} is being updated to {self._open[device.row.id].update.version} already."
        try:
            if release_number(version) < release_number(device.presence.firmware):
                return (
                    f"{name} runs {device.presence.firmware}, which is later than {version}; versions do not go back."
                )
        except ImageError:
            pass
        return ""

    async def request(
        self, devices: Sequence[Device], version: str, folder: str, requested_by: str
    ) -> list[Update] | Refused:
        """Queue an update of `devices`, the first of which goes ahead; on disk when this returns. Raises sqlite3.Error.

        `version` is that of the firmware in `folder`, or of ours where that is empty.
        """
        for device in devices:
            if wrong := self.why_not(device, version):
                return Refused(wrong)
        try:
            number = release_number(version)
        except ImageError as error:
            return Refused(str(error))
        now = self._now_ms()

        def write(transaction: Transaction) -> list[Update]:
            made = []
            for place, device in enumerate(devices):
                state: State = "waiting" if place == 0 else "staged"
                draft = Update(
                    *(0, device.row.id, now, version, folder, None, 0, number, "", state, "", now),
                    *(device.presence.firmware, requested_by, now),
                )
                made.append(updates.insert(transaction, draft))
            return made

        queued = await self._database.write(write)
        for update in queued:
            self._open[update.device] = _Open(update)
        self._counters.add("updates.requested", len(queued))
        self._go_on(queued[0].device)
        return queued

    async def cancel(self, device: Device) -> bool:
        """Give the update of `device` up; False if there is none, or it is on trial already. Raises sqlite3.Error."""
        one = self._open.get(device.row.id)
        if one is None or one.update.state == "trial":
            return False
        await self._settle(one.update, "cancelled", "cancelled")
        return True

    def find(self, update: int) -> tuple[Update, int] | None:
        """An update by its id, and how many bytes of it were fetched."""
        found = self._database.read(lambda connection: updates.by_id(connection, update))
        if found is None:
            return None
        one = self._open.get(found.device)
        if one is not None and one.update.id == update:
            return one.update, one.fetched
        return found, found.size if found.state == "done" else 0

    def of_device(self, device: Device) -> tuple[Update, int] | None:
        """The newest update of a device, and how many bytes of it were fetched."""
        newest = self._database.read(lambda connection: updates.latest(connection, device.row.id))
        return None if newest is None else self.find(newest.id)

    def open_updates(self) -> list[Update]:
        """All that are not over."""
        return [one.update for one in self._open.values()]

    # --- what devices say --------------------------------------------------------------------------------------------

    def greeting(self, device: Device, hello: Any) -> list[bytes]:
        """`device` said `hello`: what it says of updates counts, and the manifest goes into the answer."""
        told = hello.update
        device.presence.architecture = told[0] if told is not None else ""
        one = self._open.get(device.row.id)
        if one is None or one.update.state == "staged":
            return []
        update = one.update
        if told is None:
            self._soon(self._settle(update, "failed", "no_slots"))
            return []
        _, counter, outcome = told
        if counter == update.counter:
            self._hear(one, outcome)
            return []
        if counter > update.counter:
            # More than we ever gave out, as far as we remember: a restored backup.
            one.update = replace(update, counter=counter + 1)
            self._soon(self._write(lambda transaction: updates.raise_counter(transaction, update.id, counter + 1)))
        return self._announce(one, device)

    def _hear(self, one: _Open, outcome: str) -> None:
        if outcome == "done":
            self._soon(self._settle(one.update, "done", ""))
        elif outcome:
            self._soon(self._settle(one.update, "failed", outcome))
        else:
            self._set_state(one, "trial")

    def attach(self, device: Device) -> list[bytes]:
        """The manifest, where answers are the only way and it is time to say it."""
        one = self._open.get(device.row.id)
        if one is None or one.update.state != "waiting" or not self._is_due(one):
            return []
        return self._announce(one, device)

    def block(self, device: Device, ask: Any) -> Any:
        """The Block that `device` asks for (thingroom_wire.manifest)."""
        one = self._open.get(device.row.id)
        data = None
        if one is not None and one.update.counter == ask.counter and one.update.digest is not None:
            data = self._bundle(one.update.digest)
        if one is None or data is None or ask.offset >= len(data):
            return Block(ask.counter, ask.offset, None)
        piece = data[ask.offset : ask.offset + ask.length]
        one.fetched = ask.offset + len(piece)
        if one.update.state == "waiting":
            self._set_state(one, "fetching")
        return Block(ask.counter, ask.offset, piece)

    def _bundle(self, digest: bytes) -> bytes | None:
        if digest not in self._bundles:
            found = self._database.read(lambda connection: updates.bundle(connection, digest))
            if found is None:
                return None
            self._bundles[digest] = found
        return self._bundles[digest]

    # --- telling devices ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Tell devices again, until cancelled."""
        while True:
            for device_id, one in list(self._open.items()):
                device = self._registry.by_id(device_id)
                if device.row.status != ACTIVE:
                    await self._settle(one.update, "failed", "revoked")
                elif one.update.state == "waiting" and self._is_due(one):
                    self._go_on(device_id)
            await asyncio.sleep(TICK_SECONDS)

    def _is_due(self, one: _Open) -> bool:
        pause = AGAIN_MS[min(one.tries, len(AGAIN_MS)) - 1] if one.tries else 0
        return not 0 <= self._now_ms() - one.told_at < pause

    def _go_on(self, device_id: int) -> None:
        """Tell the device of its update, if it can be reached."""
        one, device = self._open[device_id], self._registry.by_id(device_id)
        for message in self._announce(one, device):
            self._commands.push(device, message)

    def _announce(self, one: _Open, device: Device) -> list[bytes]:
        """The manifest; nothing while the bundle is being made, which is begun here."""
        if one.update.digest is None:
            if device.presence.architecture and not one.building:
                one.building = True
                self._soon(self._build(one, device.presence.architecture))
            return []
        one.told_at = self._now_ms()
        one.tries += 1
        return [signed_manifest(one.update, device.row.kid, self.patience, self._key, self._kid)]

    async def _build(self, one: _Open, architecture: str) -> None:
        update = one.update
        folder = Path(update.folder) if update.folder else None
        try:
            image = await asyncio.to_thread(self._make, architecture, update.version, folder)
            one.update = await self._database.write(lambda transaction: updates.prepare(transaction, update, image))
        except ImageError as error:
            logger.error("the firmware for %s: %s", architecture, error)
            await self._settle(update, "failed", "not_built")
            return
        except sqlite3.Error as error:
            logger.error("the firmware for %s was not stored: %s", architecture, error)
            return
        finally:
            one.building = False
        if update.device in self._open:
            self._go_on(update.device)

    # --- states ------------------------------------------------------------------------------------------------------

    def _set_state(self, one: _Open, state: State) -> None:
        if one.update.state != state:
            one.update = replace(one.update, state=state)
            update = one.update
            self._soon(self._write(lambda transaction: updates.set_state(transaction, update.id, state)))
            self._changed(update)

    async def _settle(self, update: Update, state: State, reason: str) -> None:
        """`update` is over: say it in the room, and let the others of its campaign go on, or not."""
        over = replace(update, state=state, reason=reason)
        device = self._registry.by_id(update.device)
        now = self._now_ms()

        def write(transaction: Transaction) -> list[int]:
            if not updates.settle(transaction, update.id, state, reason, now):
                return []
            if state != "cancelled":
                content = json.dumps({"msgtype": "m.notice", "body": spoken(device.row.name, over), "m.mentions": {}})
                row = device.row
                outbox.add(transaction, outbox.NewRow(row.place, row.id, device.kid_hex, MESSAGE_TYPE, content, now))
            others = updates.of_campaign(transaction, update.campaign, ("staged",))
            for other in others:
                if state == "done":
                    updates.set_state(transaction, other, "waiting")
                else:
                    updates.settle(transaction, other, "failed", "canary_failed", now)
            return others

        others = await self._database.write(write)
        self._open.pop(update.device, None)
        self._counters.add(f"updates.{state}")
        self._kick()
        self._changed(over)
        for device_id, one in list(self._open.items()):
            if one.update.id not in others:
                continue
            if state == "done":
                one.update = replace(one.update, state="waiting")
                self._go_on(device_id)
            else:
                del self._open[device_id]
                self._changed(replace(one.update, state="failed", reason="canary_failed"))

    def _changed(self, update: Update) -> None:
        for watcher in self.watchers:
            watcher(update)

    async def _write(self, write: Callable[[Transaction], None]) -> None:
        await self._database.write(write)

    def _soon(self, writing: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(writing)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the state of an update was not stored: %s", error)


__all__ = ["OPEN", "Refused", "Updates"]
