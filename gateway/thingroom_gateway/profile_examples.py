"""A profile's worked examples, run: what is written there, and what really comes of the payload.

Pure; may import profiles, observation, plain, thingroom_wire. The tests run every profile's examples by `run`, and
`thingroom profile check` tells a maker what `run` finds.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, Final

from thingroom_gateway.observation import Observation, Unusable, describe, observe
from thingroom_gateway.plain.dialects import worked
from thingroom_gateway.plain.mapping import map_readings, observed
from thingroom_gateway.profile_file import ExampleFile
from thingroom_gateway.profiles import Profile
from thingroom_wire.cbor import Decimal as WireDecimal
from thingroom_wire.errors import WireError
from thingroom_wire.senml import Record, decode_pack

_NOW: Final = 1_770_000_000_000
_SEQUENCE: Final = 12


def run(profile: Profile, example: ExampleFile) -> list[str]:
    """What is wrong with an example, each in a sentence; nothing if it is right."""
    kinds = [bool(example.payload), bool(example.senml), bool(example.topic)]
    if sum(kinds) != 1:
        return ["an example has one of payload (SenML-CBOR in hex), senml (SenML-JSON) and topic (with message)"]
    came = _came(profile, example)
    if isinstance(came, str):
        return [came]
    if isinstance(came, Unusable):
        if example.refused == came.reason:
            return []
        wanted = f"refused = {json.dumps(example.refused)} is written" if example.refused else "readings are written"
        return [f"it is refused: {came.reason}; but {wanted}"]
    if example.refused:
        return [f'refused = "{example.refused}" is written, but it is accepted and gives {_shown(_readings(came))}']
    problems = []
    wanted_readings = [(one.name, one.value, one.unit) for one in example.readings]
    if _readings(came) != wanted_readings:
        problems.append(f"it gives {_shown(_readings(came))}, but readings has {_shown(wanted_readings)}")
    text = describe(profile, came.latest)
    if text != example.text:
        problems.append(f'people read "{text}", but text has "{example.text}"')
    return problems


def _came(profile: Profile, example: ExampleFile) -> Observation | Unusable | str:
    """What comes of it, or why it cannot be read at all."""
    if example.topic:
        told = worked(example.topic, example.message.encode())
        if not told:
            return "no dialect understands this topic with this message"
        every = [map_readings(profile, readings) for readings in told]
        mapped = max(every, key=lambda one: (bool(one.values), bool(one.refused)))
        if not mapped.values:
            return Unusable(next(iter(mapped.refused.values()), "unknown_quantity"))
        return observed(profile, mapped, _NOW, _SEQUENCE, clock_sure=True)
    try:
        records = _json_records(example.senml) if example.senml else list(_cbor_records(example.payload))
    except (ValueError, WireError) as error:
        return f"the payload cannot be read: {error}"
    return observe(profile, records, _NOW, 0, _SEQUENCE)


def _cbor_records(payload: str) -> Any:
    return decode_pack(bytes.fromhex(payload)).records


def _json_records(text: str) -> list[Any]:
    """SenML-JSON (RFC 8428, section 5) with bn, bu, n, u, v, vs, vb and t; the times are left relative."""
    pack = json.loads(text, parse_float=Decimal)
    if not isinstance(pack, list) or not all(isinstance(item, dict) for item in pack):
        raise ValueError("a SenML pack is an array of objects")
    records, unit = [], None
    for item in pack:
        unknown = set(item) - {"bn", "bu", "n", "u", "v", "vs", "vb", "t"}
        values = [item[key] for key in ("v", "vs", "vb") if key in item]
        if unknown or len(values) != 1:
            raise ValueError(
                f"a record has one of v, vs, vb; {', '.join(sorted(unknown)) or 'nothing'} is not understood"
            )
        unit = item.get("bu", unit)
        value = values[0]
        if isinstance(value, Decimal):
            sign, digits, exponent = value.as_tuple()
            mantissa = int("".join(map(str, digits)))
            value = WireDecimal(-mantissa if sign else mantissa, int(exponent))
        time = item.get("t", 0)
        if type(time) is not int:
            raise ValueError("the times of an example are whole seconds")
        records.append(Record(item.get("n", ""), item.get("u", unit), value, time * 1000))
    return records


def _readings(observation: Observation) -> list[tuple[str, str, str]]:
    return [(r["name"], r["value"], r.get("unit", "")) for r in json.loads(f"[{observation.readings}]")]


def _shown(readings: list[tuple[str, str, str]]) -> str:
    return ", ".join(" ".join(part for part in reading if part) for reading in readings) or "nothing"
