"""Synapse's answers about events: run by Synapse's own Python, one JSON request a line in, one JSON answer a line out.

Imports Synapse and the standard library, nothing of ours. A request is a room:
`{"room_version": v, "pdus": [pdu, ...], "checks": [{"event": i, "state": [j, ...], "rejected": [j, ...]}, ...]}`
and its answer has for each PDU what Synapse makes of it, for each check its verdicts (null: allowed, else why not).
`{"room_version": v, "pdus": [...], "resolve": [[j, ...], ...]}`, with a list of state sets, asks for their resolution.
The side of the tests is in oracle_client.py.
"""

import hashlib
import json
import logging
import sys
import time
from typing import Any

from synapse.api.room_versions import KNOWN_ROOM_VERSIONS, RoomVersion, StateResolutionVersions
from synapse.crypto.event_signing import compute_content_hash, compute_event_reference_hash
from synapse.event_auth import (
    check_state_dependent_auth_rules,
    check_state_independent_auth_rules,
    validate_event_for_room_version,
)
from synapse.events import make_event_from_dict
from synapse.events.utils import prune_event
from synapse.federation.federation_base import event_from_pdu_json
from synapse.state import v1, v2
from synapse.storage.databases.main.event_federation import StateDifference
from unpaddedbase64 import encode_base64


class Store:
    """The few reads that Synapse's checks make, answered from the room of the request."""

    def __init__(self, events: dict[str, Any]) -> None:
        self.events = events

    async def get_events(self, event_ids: Any, **_options: Any) -> dict[str, Any]:
        return {event_id: self.events[event_id] for event_id in event_ids if event_id in self.events}


def finish(coroutine: Any) -> Any:
    """Run a coroutine that never really waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise RuntimeError("the check waits for something")


def reason_of(check: Any, *arguments: Any) -> str | None:
    """None when the check passes. Crashes count as refusals, as in Synapse's request handlers, and say so."""
    try:
        result = check(*arguments)
        if hasattr(result, "send"):
            finish(result)
    except Exception as error:
        kind = "" if type(error).__name__ in ("AuthError", "UnstableSpecAuthError") else "crash: "
        return f"{kind}{type(error).__name__}: {error}"
    return None


def receive(pdu: dict[str, Any], version: RoomVersion) -> None:
    """What Synapse does with a PDU from federation before it looks at signatures and the room."""
    validate_event_for_room_version(event_from_pdu_json(json.loads(json.dumps(pdu)), version))


def describe(pdu: dict[str, Any], version: RoomVersion) -> dict[str, Any]:
    answer: dict[str, Any] = {"refused": reason_of(receive, pdu, version)}
    try:
        event = make_event_from_dict(pdu, version)
        answer["event_id"] = event.event_id
        answer["content_hash"] = encode_base64(compute_content_hash(pdu, hashlib.sha256)[1])
        answer["reference_hash"] = encode_base64(compute_event_reference_hash(event)[1])
        redacted = prune_event(event).get_pdu_json()
        redacted.pop("unsigned", None)
        answer["redacted"] = redacted
    except Exception as error:
        answer["error"] = f"{type(error).__name__}: {error}"
    return answer


def check(request: dict[str, Any], version: RoomVersion) -> list[dict[str, Any]]:
    pdus = request["pdus"]
    events = [make_event_from_dict(pdu, version) for pdu in pdus]
    answers = []
    for one in request["checks"]:
        known = {event.event_id: event for event in events}
        for index in one.get("rejected", ()):
            event = make_event_from_dict(pdus[index], version, rejected_reason="rejected")
            known[event.event_id] = event
        event = events[one["event"]]
        state = [events[index] for index in one["state"]]
        answers.append(
            {
                "list": reason_of(check_state_independent_auth_rules, Store(known), event),
                "state": reason_of(check_state_dependent_auth_rules, event, state),
            }
        )
    return answers


class Clock:
    async def sleep(self, _duration: Any) -> None:
        """Synapse yields to its event loop here; there is none."""


class NothingStored:
    """All events are given to the resolution as in flight, so Synapse's own code finds their auth chains."""

    async def get_events(self, _event_ids: Any, allow_rejected: bool = False) -> dict[str, Any]:
        return {}

    async def get_auth_chain_difference(self, *_arguments: Any) -> StateDifference:
        return StateDifference(auth_difference=set(), conflicted_subgraph=set())


def resolve(request: dict[str, Any], version: RoomVersion) -> dict[str, Any]:
    """The resolved state as [type, state_key, event_id], and the seconds that the resolution alone took."""
    events = [make_event_from_dict(pdu, version) for pdu in request["pdus"]]
    known = {event.event_id: event for event in events}
    sets = [
        {(events[index].type, events[index].state_key): events[index].event_id for index in indices}
        for indices in request["resolve"]
    ]
    room_id = events[0].room_id
    began = time.perf_counter()
    if version.state_res == StateResolutionVersions.V1:
        store = Store(known)
        resolved = finish(v1.resolve_events_with_store(room_id, version, sets, known, store.get_events))
    else:
        resolved = finish(v2.resolve_events_with_store(Clock(), room_id, version, sets, known, NothingStored()))
    seconds = time.perf_counter() - began
    return {"resolved": sorted([*key, event_id] for key, event_id in resolved.items()), "seconds": seconds}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    version = KNOWN_ROOM_VERSIONS[request["room_version"]]
    if "checks" in request:
        return {"verdicts": check(request, version)}
    if "resolve" in request:
        return resolve(request, version)
    return {"events": [describe(pdu, version) for pdu in request["pdus"]]}


def main() -> None:
    logging.disable(logging.CRITICAL)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
