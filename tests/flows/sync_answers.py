"""/sync answers of two homeservers made comparable: what differs by nature is named alike, or left out.

Ids, tokens and times differ in every run. Left out besides is what one of the two says and the specification leaves
open; each with its reason. Reading goes on in test_sync_like_the_reference.py.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from tests.browser.homeservers import Homeserver
from tests.browser.person import Person

LEFT_OUT = {
    # Of the run.
    *("age", "origin_server_ts", "ts", "next_batch", "prev_batch", "transaction_id"),
    # Key counts have unstable twins; device lists may name more people than they must.
    *("device_one_time_keys_count", "device_unused_fallback_key_types", "device_lists"),
    "org.matrix.msc2732.device_unused_fallback_key_types",
    # The reference's own, or older than the specification.
    *("prev_sender", "replaces_state", "redacted_by", "msc4354_sticky"),
    # Who writes has read what is above: ours counts so, the reference waits for a receipt.
    "notification_count",
    # Not sent by either to who asks for it to be off; the reference tells some all the same.
    "presence",
    # The reference leaves it out unless members are lazily loaded.
    "summary",
    # Defaults of power levels and of kicked members, which each server is free in.
    *("historical", "m.call.invite", "displayname"),
}
SORTED = {"state", "invite_state", "knock_state", "account_data", "ephemeral"}


@dataclass
class Answers:
    """Asks one homeserver, and keeps what it answered under a label for each question."""

    homeserver: Homeserver
    people: dict[str, Person]
    answers: dict[str, Any] = field(default_factory=dict)
    _tokens: dict[str, str] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)

    def name(self, thing: str, name: str) -> str:
        """Call an id so in all answers."""
        self._names[thing] = f"<{name}>"
        return thing

    async def say(self, who: str, room_id: str, text: str, **more: Any) -> str:
        content = {"msgtype": "m.text", "body": text, **more}
        return self.name(await self.people[who].send(room_id, "m.room.message", content), text)

    async def sync(self, who: str, label: str, *, anew: bool = False, **query: Any) -> None:
        """The next /sync of the user, or one without a token, whose answer's token is not kept."""
        parameters = {"timeout": 0, "set_presence": "offline"} | query
        since = None if anew else self._tokens.get(who)
        if since is not None:
            parameters["since"] = since
        words = {
            name: json.dumps(value) if isinstance(value, dict) else str(value) for name, value in parameters.items()
        }
        path = "sync?" + "&".join(f"{name}={quote(word)}" for name, word in words.items())
        answer = await self.people[who].call("GET", path)
        if not anew:
            self._tokens[who] = answer["next_batch"]
        self.answers[label] = self._plain(answer)

    def _plain(self, value: Any, name: str = "") -> Any:
        if isinstance(value, str):
            text = value.replace(self.homeserver.server_name, "server")
            return re.sub(r"[!$][A-Za-z0-9_-]{43}", lambda match: self._names.get(match[0], "<id>"), text)
        if isinstance(value, list):
            kept = [one for one in value if not isinstance(one, dict) or one.get("type") not in ("m.push_rules",)]
            return [self._plain(one) for one in kept]
        if not isinstance(value, dict):
            return value
        # The create event of room version 12 has no room_id of its own, and the reference adds one.
        out = LEFT_OUT | ({"room_id"} if value.get("type") == "m.room.create" else set())
        plain = {self._plain(key): self._plain(one, key) for key, one in value.items() if key not in out}
        if name in SORTED and "events" in plain:
            plain["events"].sort(key=lambda event: (event["type"], event.get("state_key", "")))
        return {key: one for key, one in plain.items() if one not in ({}, [], {"events": []}) or key == "content"}
