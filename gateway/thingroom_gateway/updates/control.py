"""What the control socket can ask of the updates: begin one, look how far it is, give it up.

May import msgspec, queue, devices. control.py hands these here.
"""

from __future__ import annotations

from typing import Any

import msgspec

from thingroom_common.firmware_image import ImageError, version_of
from thingroom_gateway.commands.control import CONTROL, find_device
from thingroom_gateway.devices import ACTIVE, Device, Registry
from thingroom_gateway.updates.queue import Refused, Updates
from thingroom_gateway.updates.update import Update, sentence

Answer = dict[str, Any]


class RequestUpdate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="request_update"):
    """Update `device` (key id or name), or with an empty one all that run another version. `folder` is absolute."""

    device: str = ""
    version: str = ""
    folder: str = ""


class ShowUpdates(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="updates"):
    """The updates `ids`; empty: the newest of each device."""

    ids: list[int] = []


class CancelUpdate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="cancel_update"):
    """Give up the update of `device`; with an empty one all that are not over."""

    device: str = ""


async def carry_out(
    updates: Updates, registry: Registry, command: RequestUpdate | ShowUpdates | CancelUpdate
) -> Answer:
    """Raises sqlite3.Error."""
    if isinstance(command, ShowUpdates):
        if command.ids:
            found = [updates.find(one) for one in command.ids]
        else:
            found = [updates.of_device(device) for device in registry]
        return {"ok": True, "updates": [_described(registry, *one) for one in found if one is not None]}
    if isinstance(command, CancelUpdate):
        return await _cancel(updates, registry, command)
    return await _request(updates, registry, command)


async def _request(updates: Updates, registry: Registry, command: RequestUpdate) -> Answer:
    from pathlib import Path

    try:
        version = command.version or version_of(Path(command.folder) if command.folder else None)
    except ImageError as error:
        return {"ok": False, "error": str(error)}
    if command.device:
        device = find_device(registry, command.device)
        if isinstance(device, str):
            return {"ok": False, "error": device}
        chosen = [device]
    else:
        chosen = [one for one in registry if _is_meant(one, version, bool(command.folder))]
        chosen = [one for one in chosen if not updates.why_not(one, version)]
        # The one that was heard last goes ahead: it is the likeliest to be there.
        chosen.sort(key=lambda one: one.presence.heard_at, reverse=True)
    if not chosen:
        return {"ok": True, "updates": [], "version": version}
    queued = await updates.request(chosen, version, command.folder, CONTROL)
    if isinstance(queued, Refused):
        return {"ok": False, "error": queued.reason}
    return {"ok": True, "version": version, "updates": [_described(registry, one, 0) for one in queued]}


def _is_meant(device: Device, version: str, is_own: bool) -> bool:
    """Whether an update of all means `device`: it has our firmware, and another version of it."""
    if device.row.attested or device.row.status != ACTIVE:
        return False
    return is_own or device.presence.firmware != version


async def _cancel(updates: Updates, registry: Registry, command: CancelUpdate) -> Answer:
    if command.device:
        device = find_device(registry, command.device)
        if isinstance(device, str):
            return {"ok": False, "error": device}
        if not await updates.cancel(device):
            return {"ok": False, "error": f"{device.row.name} fetches no update that could be cancelled"}
        return {"ok": True, "cancelled": 1}
    count = 0
    for update in updates.open_updates():
        count += await updates.cancel(registry.by_id(update.device))
    return {"ok": True, "cancelled": count}


def _described(registry: Registry, update: Update, fetched: int) -> Answer:
    return {
        "id": update.id,
        "name": registry.by_id(update.device).row.name,
        "version": update.version,
        "before": update.before,
        "state": update.state,
        "fetched": fetched,
        "size": update.size,
        "why": sentence(update),
    }
