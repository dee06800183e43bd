"""The control socket: how the command line talks to a gateway that runs, and both ends of it.

A Unix socket in the data directory, for the owner of the files only. One JSON object a line each way; an answer has
"ok", and "error" where it is false. May import pairing, enrolment, storage. cli.py calls `ask`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from thingroom_common.database import Database
from thingroom_gateway.commands.control import Configure, SendCommand, carry_out
from thingroom_gateway.commands.queue import CommandQueue
from thingroom_gateway.counters import Counters
from thingroom_gateway.devices import Device, Registry
from thingroom_gateway.enrolment import MAX_NAME, Candidate, Enrolment, NotEnrolled
from thingroom_gateway.gateway_keys import GatewayKeys
from thingroom_gateway.handover import HandingOver, NotHanded, parse_shards, sentence_of_error
from thingroom_gateway.ledger import summary
from thingroom_gateway.pairing import Pairing
from thingroom_gateway.plain.devices import NotAdopted, PlainDevices
from thingroom_gateway.reload import Reload
from thingroom_gateway.status import Overview
from thingroom_gateway.storage import figures, outbox, received
from thingroom_gateway.storage.missing import gaps_of
from thingroom_gateway.updates.control import CancelUpdate, RequestUpdate, ShowUpdates
from thingroom_gateway.updates.control import carry_out as carry_out_update
from thingroom_gateway.updates.queue import Updates
from thingroom_gateway.updates.update import sentence as sentence_of_update

logger = logging.getLogger(__name__)

MAX_LINE: Final = 65_536
SOCKET_NAME: Final = "control.sock"
MAX_GAPS: Final = 20

Answer = dict[str, Any]
_NO_PLAIN: Final[Answer] = {
    "ok": False,
    "error": "no plain MQTT devices are listened for: add [[gateway.plain]] to the configuration",
}
Hex32 = Annotated[str, Meta(pattern="^[0-9a-fA-F]{64}$")]
Kid = Annotated[str, Meta(pattern="^[0-9a-fA-F]{16}$")]


class OpenPairing(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="open_pairing"):
    minutes: Annotated[float, Meta(gt=0, le=24 * 60)] = 10


class ClosePairing(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="close_pairing"):
    pass


class ListDevices(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="devices"):
    pass


class Enrol(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="enrol"):
    device_key: Hex32
    agreement_key: Hex32
    name: str
    profile: str
    place: str = ""


class Revoke(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="revoke"):
    device: Kid


class ExportDevices(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="export_devices"):
    """`file` is an absolute path."""

    shards: str
    file: str
    again: bool = False


class ImportDevices(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="import_devices"):
    file: str


class ShowCounters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="counters"):
    pass


class RetryParked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="retry_parked"):
    pass


class ListSeen(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="seen"):
    pass


class Adopt(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="adopt"):
    topic: str
    name: str
    place: str = ""
    profile: str = ""


class ShowStatus(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="status"):
    pass


class ReadAgain(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="reload"):
    pass


class Stop(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="stop"):
    pass


Command = (
    OpenPairing
    | ClosePairing
    | ListDevices
    | Enrol
    | Revoke
    | ExportDevices
    | ImportDevices
    | ShowCounters
    | RetryParked
    | ListSeen
    | Adopt
    | SendCommand
    | Configure
    | RequestUpdate
    | ShowUpdates
    | CancelUpdate
    | ShowStatus
    | ReadAgain
    | Stop
)
_decoder = msgspec.json.Decoder(Command)


class Commands:
    """What can be asked of a gateway. `stop` and `kick` are the composition root's."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        enrolment: Enrolment,
        pairing: Pairing,
        counters: Counters,
        keys: GatewayKeys,
        stop: Callable[[], None],
        kick: Callable[[], None],
    ) -> None:
        self._database = database
        self._registry = registry
        self._enrolment = enrolment
        self._pairing = pairing
        self._counters = counters
        self._keys = keys
        self._stop = stop
        self._kick = kick
        # Set by the composition root where plain MQTT devices are listened for.
        self.plain: PlainDevices | None = None
        self.overview: Overview | None = None
        self.reload: Reload | None = None
        # Set where links run: without them nothing can be sent.
        self.queue: CommandQueue | None = None
        self.updates: Updates | None = None

    async def run(self, command: Command) -> Answer:
        """Carry out one command. Raises sqlite3.Error."""
        match command:
            case OpenPairing(minutes=minutes):
                window = self._pairing.open(minutes)
                return {"ok": True, "code": window.code, "minutes": minutes}
            case ClosePairing():
                self._pairing.close()
                return {"ok": True}
            case ListDevices():
                return {"ok": True, "devices": [self._describe(device) for device in self._registry]}
            case Enrol():
                return await self._enrol(command)
            case Revoke(device=kid):
                revoked = await self._enrolment.revoke(bytes.fromhex(kid))
                return {"ok": True} if revoked else {"ok": False, "error": f"there is no device {kid}"}
            case ExportDevices() | ImportDevices():
                return await self._hand(command)
            case ShowCounters():
                waiting, parked = self._database.read(outbox.sizes)
                counts = self._counters.all()
                # Shown also while the disk is full; they then count as not looked at.
                with contextlib.suppress(sqlite3.Error):
                    await self._database.write(lambda transaction: figures.read_counters(transaction, counts))
                return {"ok": True, "counters": counts, "outbox": {"waiting": waiting, "parked": parked}}
            case ShowStatus():
                if self.overview is None:
                    return {"ok": False, "error": "no gateway runs"}
                status = await self.overview.status(self._database)
                return {"ok": True, "status": msgspec.to_builtins(status)}
            case ReadAgain():
                return self._read_again()
            case RetryParked():
                number = await self._database.write(outbox.unpark)
                self._kick()
                return {"ok": True, "retried": number}
            case ListSeen():
                return {"ok": True, "seen": self.plain.list_seen()} if self.plain is not None else _NO_PLAIN
            case Adopt():
                return await self._adopt(command) if self.plain is not None else _NO_PLAIN
            case SendCommand() | Configure():
                if self.queue is None:
                    return {"ok": False, "error": "no gateway runs that could send it"}
                return await carry_out(self.queue, self._registry, command)
            case RequestUpdate() | ShowUpdates() | CancelUpdate():
                if self.updates is None:
                    return {"ok": False, "error": "no gateway runs that could update it"}
                return await carry_out_update(self.updates, self._registry, command)
            case Stop():
                self._stop()
                return {"ok": True}

    def _read_again(self) -> Answer:
        if self.reload is None:
            return {"ok": False, "error": "no gateway runs"}
        done = self.reload.read_again()
        if done.error:
            return {"ok": False, "error": f"nothing was changed: {done.error}"}
        return {"ok": True, "changed": done.changed, "needs_restart": done.needs_restart}

    async def _enrol(self, command: Enrol) -> Answer:
        result = await self._enrolment.enrol(
            Candidate(
                bytes.fromhex(command.device_key),
                bytes.fromhex(command.agreement_key),
                command.name,
                command.profile,
                command.place,
            )
        )
        if isinstance(result, NotEnrolled):
            return {"ok": False, "error": self._sentence(result.reason, command)}
        return {
            "ok": True,
            "device": result.device.kid_hex,
            "fresh": result.fresh,
            "name": result.device.row.name,
            "gateway_key": self._keys.signing_public.hex(),
            "gateway_agreement_key": self._keys.agreement_public.hex(),
        }

    async def _hand(self, command: ExportDevices | ImportDevices) -> Answer:
        handing = HandingOver(self._database, self._registry, self._enrolment, self._keys)
        try:
            if isinstance(command, ImportDevices):
                handed = await handing.take(Path(command.file), self._enrolment.profile_names)
            else:
                shards = parse_shards(command.shards)
                if shards is None:
                    return {"ok": False, "error": f"{command.shards} names no shards; say for instance 0-7 or 0,3,a-f"}
                handed = await handing.export(shards, Path(command.file), command.again)
        except (OSError, sqlite3.Error) as error:
            return {"ok": False, "error": sentence_of_error(error)}
        if isinstance(handed, NotHanded):
            return {"ok": False, "error": handed.sentence}
        return {"ok": True, "devices": handed.devices, "waiting": handed.envelopes_waiting}

    async def _adopt(self, command: Adopt) -> Answer:
        assert self.plain is not None
        result = await self.plain.adopt(command.topic, command.name, command.place, command.profile)
        if isinstance(result, NotAdopted):
            return {"ok": False, "error": self._sentence(result.reason, command)}
        row = result.device.row
        return {
            "ok": True,
            "device": result.device.kid_hex,
            "name": row.name,
            "place": row.place,
            "profile": row.profile,
        }

    def _sentence(self, reason: str, command: Enrol | Adopt) -> str:
        """Why a device was not enrolled, for a person."""
        known = ", ".join(sorted(self._enrolment.profile_names))
        sentences = {
            "unknown_profile": f"there is no profile {command.profile}; there are {known}",
            "bad_name": f"a name or place has 1 to {MAX_NAME} printable characters",
            "bad_device_key": "the device key is not an Ed25519 public key",
            "bad_agreement_key": "the agreement key is not an X25519 public key",
            "revoked": "this device was revoked; give it a new key",
            "handed_over": "another gateway has this device; take it back with: thingroom gateway devices import",
            "not_seen": "no device was heard there yet; see: thingroom gateway seen",
            "adopted": "this device is adopted already",
            "no_profile": "no profile understands what it tells; write one: thingroom profile new NAME --from OTHER",
            "too_many_devices": "there are as many devices as limits.devices in [gateway] allows",
        }
        return sentences[reason]

    def _describe(self, device: Device) -> Answer:
        intervals = self._database.read(lambda connection: received.intervals(connection, device.row.id, 1000))
        holes = self._database.read(lambda connection: gaps_of(connection, device.row.id))
        presence = device.presence
        return {
            "device": device.kid_hex,
            "name": device.row.name,
            "place": device.row.place,
            "profile": device.row.profile,
            "status": device.row.status,
            "received": sum(interval.last - interval.first + 1 for interval in intervals),
            "last_sequence": intervals[-1].last if intervals else None,
            "missing": [msgspec.to_builtins(gap) for gap in holes[-MAX_GAPS:]],
            "online": presence.status,
            "firmware": presence.firmware,
            "update": self._update_of(device),
            "waiting": presence.waiting,
            "deferred": presence.deferred,
            "gaps": summary(holes),
        }

    def _update_of(self, device: Device) -> str:
        """What is to be said of its newest update: that it goes on, or that it failed; empty where all is well."""
        found = self.updates.of_device(device) if self.updates is not None else None
        if found is None or found[0].state in ("done", "cancelled"):
            return ""
        update = found[0]
        return f"{update.version} {update.state}" + (f": {why}" if (why := sentence_of_update(update)) else "")


class ControlServer:
    """Listens on the control socket."""

    def __init__(self, directory: Path, run: Callable[[Command], Awaitable[Answer]]) -> None:
        self._path = directory / SOCKET_NAME
        self._run = run
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Raises OSError; BlockingIOError if a gateway runs already on this data directory."""
        if await is_running(self._path.parent):
            raise BlockingIOError(f"a gateway already runs on {self._path.parent}")
        self._path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._serve, path=self._path, limit=MAX_LINE)
        finally:
            os.umask(before)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            logger.debug("a control connection ended badly")
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> Answer:
        try:
            command = _decoder.decode(line)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            return {"ok": False, "error": str(error)}
        try:
            return await self._run(command)
        except sqlite3.Error as error:
            return {"ok": False, "error": f"the database: {error}"}


async def is_running(directory: Path) -> bool:
    """Whether a gateway listens on the control socket of `directory`."""
    try:
        _, writer = await asyncio.open_unix_connection(directory / SOCKET_NAME)
    except OSError:
        return False
    writer.close()
    return True


def ask(directory: Path, command: dict[str, Any], timeout: float = 30.0) -> Answer:
    """Send one command to the gateway that runs on `directory`; blocks. Raises OSError if none runs."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(str(directory / SOCKET_NAME))
        connection.sendall(json.dumps(command).encode() + b"\n")
        with connection.makefile("rb") as lines:
            line = lines.readline()
    if not line:
        raise ConnectionError("the gateway closed the connection")
    answer: Answer = json.loads(line)
    return answer
