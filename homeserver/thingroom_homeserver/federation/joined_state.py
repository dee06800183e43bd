"""What a resident server answers to send_join, checked: signatures and hashes of thousands of events, and whether they
make the state of that room.

May import core and this package. The auth rules are asked where the events are stored (rooms/outliers.py,
rooms/import_room.py). Source: Server-Server API, "Joining Rooms". Used by joining.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from thingroom_homeserver.core.canonical_json import JsonObject
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.federation.server_keys import ServerKeys
from thingroom_homeserver.federation.verify_event import Bad, verify_events
from thingroom_homeserver.storage.current_state import StateKey

CREATE: StateKey = ("m.room.create", "")
MAX_EVENTS = 300_000


@dataclass(frozen=True, slots=True)
class JoinedState:
    """The member event as it is to be stored, the state before it, and all events that came with it, by id."""

    member: Event
    state: dict[StateKey, str]
    events: dict[str, Event]


async def read_joined_state(keys: ServerKeys, answer: JsonObject, member: Event) -> JoinedState | str:
    """Check the answer to send_join of `member`; if it cannot be used, what is wrong with it.

    Single events that fail the checks, or are of another room, are left out as they would be if they came alone.
    """
    state, auth_chain = answer.get("state"), answer.get("auth_chain")
    if not isinstance(state, list) or not isinstance(auth_chain, list):
        return "the answer has no state or no auth_chain"
    if len(state) + len(auth_chain) > MAX_EVENTS:
        return f"the answer has more than {MAX_EVENTS} events"
    if answer.get("members_omitted") is True:
        return "members were left out of the state, though all were asked for"
    signed = await signed_member(keys, answer, member)
    if isinstance(signed, str):
        return signed
    of_state = list(_objects(state))
    seen = {_mark(pdu): pdu for pdu in of_state}
    # Most of the auth chain stands in the state too, and need not be checked twice.
    others = [pdu for pdu in _objects(auth_chain) if seen.get(_mark(pdu)) != pdu]
    checked = await verify_events(keys, [*of_state, *others], member.room_version)
    events = {each.event_id: each for each in checked if isinstance(each, Event) and each.room_id == member.room_id}
    entries = _entries(
        each for each in checked[: len(of_state)] if isinstance(each, Event) and each.room_id == member.room_id
    )
    if isinstance(entries, str):
        return entries
    fault = _create_fault(entries.get(CREATE), member, _why_no_create(of_state, checked))
    return fault or JoinedState(signed, {key: event.event_id for key, event in entries.items()}, events)


async def signed_member(keys: ServerKeys, answer: JsonObject, member: Event) -> Event | str:
    """The member event with all signatures that it needs: a restricted join has one more, which the answer brings."""
    pdu = answer.get("event")
    if not isinstance(pdu, dict):
        pdu = member.pdu
    # Only signatures may be added.
    pdu = {**member.pdu, "signatures": {**_signatures(pdu), **_signatures(member.pdu)}}
    (checked,) = await verify_events(keys, [pdu], member.room_version)
    if not isinstance(checked, Event):
        return f"the join is not signed as it must be: {checked.reason}"
    return checked


def _entries(events: Iterable[Event]) -> dict[StateKey, Event] | str:
    entries: dict[StateKey, Event] = {}
    for event in events:
        if event.state_key is None:
            return f"{event.event_id} is no state"
        if entries.setdefault((event.type, event.state_key), event) is not event:
            return f"the state has two events of type {event.type} with one state_key"
    return entries


def _why_no_create(pdus: Iterable[JsonObject], checked: Iterable[Event | Bad]) -> str | None:
    """What is wrong with the create event of the state, if there is one that failed the checks."""
    for pdu, result in zip(pdus, checked, strict=False):
        if isinstance(result, Bad) and (pdu.get("type"), pdu.get("state_key")) == CREATE:
            return result.reason
    return None


def _create_fault(create: Event | None, member: Event, wrong: str | None) -> str | None:
    if create is None:
        reason = "" if wrong is None else f" that can be believed: {wrong}"
        return f"the state has no create event of the room{reason}"
    if create.content.get("room_version", "1") != member.room_version:
        return "the create event names another room version"
    return None


def _objects(values: list[object]) -> Iterator[JsonObject]:
    return (value for value in values if isinstance(value, dict))


def _mark(pdu: JsonObject) -> tuple[str, str]:
    """Alike for equal events; unlike ones may share it."""
    return str(pdu.get("sender")), str(pdu.get("hashes"))


def _signatures(pdu: JsonObject) -> JsonObject:
    signatures = pdu.get("signatures")
    return signatures if isinstance(signatures, dict) else {}
