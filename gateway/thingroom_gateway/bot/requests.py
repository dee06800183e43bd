"""What a person can ask of the bot, as data.

Pure; may import msgspec. language.py makes these, commands/ carries them out. They are kept as JSON while a question
("revoke it?") waits for a yes.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Targets(msgspec.Struct, frozen=True):
    """What is meant: row ids of devices, SenML names of quantities, names of actuators, places. Empty: not said."""

    devices: tuple[int, ...] = ()
    quantities: tuple[str, ...] = ()
    actuators: tuple[str, ...] = ()
    places: tuple[str, ...] = ()


class Span(msgspec.Struct, frozen=True):
    """A stretch of time up to now: its length in ms, or a named day of the local calendar."""

    ms: int = 86_400_000
    day: Literal["", "today", "yesterday", "since yesterday"] = ""


class Help(msgspec.Struct, frozen=True, tag=True):
    topic: str = ""


class Hello(msgspec.Struct, frozen=True, tag=True):
    thanks: bool = False


class Devices(msgspec.Struct, frozen=True, tag=True):
    targets: Targets = Targets()


class Latest(msgspec.Struct, frozen=True, tag=True):
    targets: Targets = Targets()


class History(msgspec.Struct, frozen=True, tag=True):
    targets: Targets
    span: Span = Span()


class Chart(msgspec.Struct, frozen=True, tag=True):
    targets: Targets
    span: Span = Span()


class Export(msgspec.Struct, frozen=True, tag=True):
    targets: Targets
    span: Span = Span()


class Pair(msgspec.Struct, frozen=True, tag=True):
    minutes: int = 10


class EndPairing(msgspec.Struct, frozen=True, tag=True):
    pass


class Move(msgspec.Struct, frozen=True, tag=True):
    """`place` as it was written."""

    devices: tuple[int, ...]
    place: str


class Rename(msgspec.Struct, frozen=True, tag=True):
    """`name` as it was written."""

    devices: tuple[int, ...]
    name: str


class Revoke(msgspec.Struct, frozen=True, tag=True):
    devices: tuple[int, ...]


class Replace(msgspec.Struct, frozen=True, tag=True):
    """The device `new` takes the place of `old`."""

    old: tuple[int, ...]
    new: tuple[int, ...]


class Condition(msgspec.Struct, frozen=True):
    """When to alert. `threshold` and `hysteresis` are decimals as text, in `unit` as it was written ("": as shown).

    `kind` "is": a truth value; `threshold` is then "true" or "false". `direction` is for rates. `within_ms` of a rate's
    change or a silence, 0 if not said.
    """

    kind: Literal["above", "below", "rate", "silence", "battery", "is"]
    threshold: str = ""
    unit: str = ""
    hysteresis: str = ""
    within_ms: int = 0
    direction: Literal["up", "down", "either"] = "either"


class AddAlert(msgspec.Struct, frozen=True, tag=True):
    targets: Targets
    condition: Condition


class ListAlerts(msgspec.Struct, frozen=True, tag=True):
    pass


class RemoveAlert(msgspec.Struct, frozen=True, tag=True):
    number: int


class SetPreset(msgspec.Struct, frozen=True, tag=True):
    """Turn an alert of the profile on or off."""

    name: str
    on: bool
    targets: Targets = Targets()


class Snooze(msgspec.Struct, frozen=True, tag=True):
    """`number` 0: the newest alert of the room."""

    number: int = 0
    ms: int = 3_600_000


class SetQuiet(msgspec.Struct, frozen=True, tag=True):
    """Minutes of the local day; across midnight where `last` is not after `first`."""

    first: int
    last: int
    targets: Targets = Targets()


class EndQuiet(msgspec.Struct, frozen=True, tag=True):
    targets: Targets = Targets()


class ShowQuiet(msgspec.Struct, frozen=True, tag=True):
    pass


class SetLive(msgspec.Struct, frozen=True, tag=True):
    """One message per device that is edited, or a new message each time."""

    on: bool
    targets: Targets = Targets()


class ShowLive(msgspec.Struct, frozen=True, tag=True):
    targets: Targets = Targets()


class Actuate(msgspec.Struct, frozen=True, tag=True):
    """`value` as it was written: "on", "21", "70 F", "eco". `unknown`: what was named, and is nothing that is here."""

    targets: Targets
    value: str
    unknown: str = ""


class Yes(msgspec.Struct, frozen=True, tag=True):
    pass


class No(msgspec.Struct, frozen=True, tag=True):
    pass


Request = (
    Help
    | Hello
    | Devices
    | Latest
    | History
    | Chart
    | Export
    | Pair
    | EndPairing
    | Move
    | Rename
    | Revoke
    | Replace
    | AddAlert
    | ListAlerts
    | RemoveAlert
    | SetPreset
    | Snooze
    | SetQuiet
    | EndQuiet
    | ShowQuiet
    | SetLive
    | ShowLive
    | Actuate
    | Yes
    | No
)


class Unclear(msgspec.Struct, frozen=True):
    """Not understood. `suggestion` is what would have been, or empty; `why` a sentence, where it is known."""

    suggestion: str = ""
    why: str = ""
