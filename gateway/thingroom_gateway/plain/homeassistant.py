"""Home Assistant's MQTT discovery: <prefix>/<component>/[<node>/]<object>/config tells what a device has, and where.

Pure; may import words, said, template. Sources: www.home-assistant.io/integrations/mqtt (discovery, abbreviations) and
the pages of its MQTT components. A discovery message comes from outside: topics are checked, templates are evaluated by
template.py, and nothing else of it is believed.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

from thingroom_gateway.plain.said import (
    MAX_BASE,
    MAX_METRICS,
    Availability,
    Described,
    Discovered,
    Entity,
    Gone,
    Handle,
    Known,
    Metric,
    Readings,
    Said,
    scaled,
)
from thingroom_gateway.plain.template import BadTemplate, NoValue, check, render
from thingroom_gateway.plain.words import (
    Unreadable,
    foreign_unit,
    number,
    number_name,
    opposite,
    plain_text,
    read_json,
    read_object,
    read_text,
    slug,
    truth,
    truth_name,
)

NAME: Final = "homeassistant"
COMPONENTS: Final = ("sensor", "binary_sensor", "switch", "light", "fan", "number", "select", "lock", "siren")
MAX_TOPIC: Final = 200
MAX_ENTITIES: Final = 64
MAX_DISCOVERY: Final = 65_536

# Only the keys that are used here; the whole list has some three hundred.
_ABBREVIATIONS: Final = {
    "avty": "availability",
    "avty_t": "availability_topic",
    "bri_cmd_t": "brightness_command_topic",
    "bri_scl": "brightness_scale",
    "bri_stat_t": "brightness_state_topic",
    "bri_val_tpl": "brightness_value_template",
    "cmd_t": "command_topic",
    "cmd_tpl": "command_template",
    "cmps": "components",
    "dev": "device",
    "dev_cla": "device_class",
    "obj_id": "object_id",
    "def_ent_id": "default_entity_id",
    "ops": "options",
    "p": "platform",
    "pl_avail": "payload_available",
    "pl_lock": "payload_lock",
    "pl_not_avail": "payload_not_available",
    "pl_off": "payload_off",
    "pl_on": "payload_on",
    "pl_unlk": "payload_unlock",
    "schema": "schema",
    "stat_off": "state_off",
    "stat_on": "state_on",
    "stat_t": "state_topic",
    "stat_val_tpl": "state_value_template",
    "t": "topic",
    "uniq_id": "unique_id",
    "unit_of_meas": "unit_of_measurement",
    "val_tpl": "value_template",
    "ids": "identifiers",
    "cns": "connections",
    "mdl": "model",
    "mf": "manufacturer",
}


def filters(prefix: str) -> tuple[str, ...]:
    """Discovery; the topics of states are subscribed to as entities become known."""
    return (f"{prefix}/+/+/config", f"{prefix}/+/+/+/config")


def read(prefix: str, topic: str, payload: bytes, known: Known) -> list[Said]:
    """What the message says: a discovery message, or the state of what was discovered. Raises Unreadable."""
    said: list[Said] = []
    if topic.startswith(f"{prefix}/") and topic.endswith("/config"):
        return _discovery(prefix, topic, payload)
    for base, online, offline in known.availability.get(topic, ()):
        word = read_text(payload, 1024)
        if word.startswith("{"):
            word = str(read_object(payload, 1024).get("state", ""))
        if word in (online, offline):
            said.append(Availability(base, word == online))
    entities = known.entities.get(topic, ())
    if entities and payload:
        said += _states(topic, payload, entities)
    return said


# --- states ------------------------------------------------------------------------------------------------------


def _states(topic: str, payload: bytes, entities: tuple[tuple[str, Entity], ...]) -> Iterator[Readings]:
    text = read_text(payload)
    try:
        tree = read_json(payload)
    except Unreadable:
        tree = None
    by_base: dict[str, list[Metric]] = {}
    for base, entity in entities[:MAX_METRICS]:
        metric = entity_metric(entity, text, tree)
        if metric is not None:
            by_base.setdefault(base, []).append(metric)
    for base, metrics in by_base.items():
        yield Readings(base, topic, tuple(metrics), text if tree is None else tree)


def entity_metric(entity: Entity, text: str, tree: Any) -> Metric | None:
    """The entity's value in a message; None if the message has none (a template may ask for what is not there)."""
    value: Any = text
    if entity.template:
        try:
            value = render(entity.template, text, tree)
        except (BadTemplate, NoValue):
            return None
    elif entity.json_light:
        if not isinstance(tree, dict):
            return None
        value = tree.get("brightness" if entity.full else "state")
    if entity.kind == "number":
        digits = number(value)
        if digits is None:
            return None
        if entity.full:
            return Metric(entity.name, "number", scaled(digits, Decimal(entity.full)), "%")
        return Metric(entity.name, "number", digits, entity.unit)
    if entity.kind == "text":
        words = plain_text(value if isinstance(value, str) else None if value is None else str(value))
        return None if words is None else Metric(entity.name, "text", words)
    word = {entity.on: "true", entity.off: "false"}.get(_spoken(value)) or truth(value)
    if word is None:
        return None
    return Metric(entity.name, "boolean", opposite(word) if entity.opposite else word)


def _spoken(value: Any) -> str:
    """As Jinja writes it: a truth is True or False."""
    return value if isinstance(value, str) else str(value)


# --- discovery ---------------------------------------------------------------------------------------------------


def _discovery(prefix: str, topic: str, payload: bytes) -> list[Said]:
    parts = topic.removeprefix(f"{prefix}/").split("/")[:-1]
    if len(parts) not in (2, 3) or len(topic) > MAX_TOPIC:
        return []
    if not payload:
        return [Gone(topic)]
    config = _expanded(read_object(payload, MAX_DISCOVERY), 0)
    node = parts[1] if len(parts) == 3 else ""
    if parts[0] == "device":
        components = config.get("components")
        entries = list(components.items())[:MAX_ENTITIES] if isinstance(components, dict) else []
        described = [
            one
            for object_id, entry in entries
            if isinstance(entry, dict) and isinstance(kind := entry.get("platform"), str)
            if (one := _entity(prefix, kind, node or parts[-1], str(object_id), {**_shared(config), **entry}))
        ]
    elif parts[0] in COMPONENTS:
        one = _entity(prefix, parts[0], node, parts[-1], config)
        described = [one] if one else []
    else:
        return []
    return [Discovered(topic, tuple(described))] if described else []


def _shared(config: dict[str, Any]) -> dict[str, Any]:
    """What device-based discovery says once for all its components."""
    keys = ("device", "availability", "availability_topic", "payload_available", "payload_not_available", "state_topic")
    return {key: config[key] for key in keys if key in config}


def _expanded(config: dict[str, Any], depth: int) -> dict[str, Any]:
    """Abbreviations written out, and ~ in topics replaced by the base topic."""
    base = config.get("~")
    full: dict[str, Any] = {}
    for key, value in config.items():
        if key == "~":
            continue
        name = _ABBREVIATIONS.get(key, key)
        if isinstance(value, dict) and depth < 3:
            inner = {**value, "~": base} if isinstance(base, str) and "~" not in value else value
            value = _expanded(inner, depth + 1)
        elif isinstance(value, list) and name == "availability":
            value = [
                _expanded({**item, "~": base} if isinstance(base, str) else item, depth + 1)
                for item in value[:8]
                if isinstance(item, dict)
            ]
        elif isinstance(value, str) and isinstance(base, str) and name.endswith("topic"):
            if value.startswith("~"):
                value = base + value[1:]
            elif value.endswith("~"):
                value = value[:-1] + base
        full[name] = value
    return full


def _topic(value: Any) -> str | None:
    """A topic that a device may name for us to read and write: no wildcards, not ours, not the broker's own."""
    text = plain_text(value)
    if text is None or len(text) > MAX_TOPIC or set(text) & set("+#") or text.startswith(("thingroom/", "$")):
        return None
    return text


def _device_key(config: dict[str, Any], node: str, object_id: str) -> str:
    device = config.get("device")
    device = device if isinstance(device, dict) else {}
    identifiers = device.get("identifiers")
    first = identifiers[0] if isinstance(identifiers, list) and identifiers else identifiers
    connections = device.get("connections")
    if first is None and isinstance(connections, list) and connections:
        pair = connections[0]
        first = pair[1] if isinstance(pair, list) and len(pair) == 2 else None
    text = first if isinstance(first, str) else str(first) if type(first) is int else node or object_id
    return "".join(letter if letter.isalnum() or letter in "-_.:" else "_" for letter in text)[:100]


def _entity(prefix: str, component: str, node: str, object_id: str, config: dict[str, Any]) -> Described | None:
    """One entity as a part of its device's description; None if it has nothing that could be read or set."""
    base = f"{prefix}/{_device_key(config, node, object_id)}"
    if component not in COMPONENTS or len(base) > MAX_BASE:
        return None
    device = config.get("device")
    device = device if isinstance(device, dict) else {}
    state, command = _topic(config.get("state_topic")), _topic(config.get("command_topic"))
    template = plain_text(config.get("value_template")) or plain_text(config.get("state_value_template")) or ""
    try:
        check(template)
    except BadTemplate:
        state = None
    entities: list[Entity] = []
    handles: list[Handle] = []
    for entity, handle in _parts(component, object_id, state, command, template, config):
        if entity is not None:
            entities.append(entity)
        if handle is not None:
            handles.append(handle)
    if not entities and not handles:
        return None
    model = " ".join(text for key in ("manufacturer", "model") if (text := plain_text(device.get(key))))
    return Described(
        base=base,
        dialect=NAME,
        title=plain_text(device.get("name")) or plain_text(config.get("name")) or "",
        model=model[:100],
        handles=tuple(handles),
        entities=tuple(entities),
        availability=_availability(config),
    )


def _availability(config: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Topics, each with the words for online and offline."""
    listed = config.get("availability")
    entries = listed if isinstance(listed, list) else [listed] if isinstance(listed, dict) else []
    if "availability_topic" in config:
        entries = [*entries, {**config, "topic": config["availability_topic"]}]
    found: dict[str, tuple[str, str]] = {}
    for entry in entries[:8]:
        topic = _topic(entry.get("topic")) if isinstance(entry, dict) else None
        if topic is not None:
            online = plain_text(entry.get("payload_available")) or "online"
            found[topic] = (online, plain_text(entry.get("payload_not_available")) or "offline")
    return found


Part = tuple[Entity | None, Handle | None]


def _parts(
    component: str, object_id: str, state: str | None, command: str | None, template: str, config: dict[str, Any]
) -> Iterator[Part]:
    if component == "sensor":
        if state is not None:
            yield _sensor(object_id, state, template, config), None
    elif component == "binary_sensor":
        if state is not None:
            yield _binary_sensor(object_id, state, template, config), None
    elif component == "number":
        yield from _number(object_id, state, command, template, config)
    elif component == "select":
        yield from _select(object_id, state, command, template, config)
    elif component == "light" and config.get("schema") == "json":
        yield from _json_light(state, command, config)
    else:
        yield from _switch(component, state, command, template, config)
        if component == "light":
            yield from _brightness(config)


def _sensor(object_id: str, state: str, template: str, config: dict[str, Any]) -> Entity | None:
    device_class = plain_text(config.get("device_class")) or ""
    unit = foreign_unit(config.get("unit_of_measurement"))
    known = number_name(device_class) or number_name(_own_word(object_id, config))
    name, default = known if known is not None else (_own_word(object_id, config), "")
    if not name:
        return None
    told = config.get("unit_of_measurement") is not None or config.get("state_class") is not None
    numeric = bool(known) or told
    return Entity(
        name=name,
        kind="number" if numeric else "text",
        topic=state,
        template=template,
        unit=(unit or default) if numeric else "",
    )


def _own_word(object_id: str, config: dict[str, Any]) -> str:
    """The entity's name in one word: of its name, else of its object id."""
    name = plain_text(config.get("name"))
    return slug(name) if name is not None and slug(name) else slug(object_id)


def _binary_sensor(object_id: str, state: str, template: str, config: dict[str, Any]) -> Entity | None:
    known = truth_name(plain_text(config.get("device_class")) or "") or truth_name(_own_word(object_id, config))
    # In Home Assistant ON of a door means open already; only the contact's own word is the other way round.
    name = known[0] if known is not None else _own_word(object_id, config)
    return (
        None
        if not name
        else Entity(
            name=name,
            kind="boolean",
            topic=state,
            template=template,
            on=_word(config, "payload_on", "ON"),
            off=_word(config, "payload_off", "OFF"),
        )
    )


def _word(config: dict[str, Any], key: str, default: str) -> str:
    """A payload as configured; a truth as Jinja writes it."""
    value = config.get(key)
    if type(value) in (bool, int):
        return str(value)
    text = value if isinstance(value, str) else None
    return text if text is not None and 0 < len(text) <= 1024 else default


def _switch(
    component: str, state: str | None, command: str | None, template: str, config: dict[str, Any]
) -> Iterator[Part]:
    lock = component == "lock"
    on = _word(config, "payload_lock" if lock else "payload_on", "LOCK" if lock else "ON")
    off = _word(config, "payload_unlock" if lock else "payload_off", "UNLOCK" if lock else "OFF")
    entity = None
    if state is not None:
        entity = Entity(
            name="locked" if lock else "on",
            kind="boolean",
            topic=state,
            template=template,
            on=_word(config, "state_locked" if lock else "state_on", "LOCKED" if lock else on),
            off=_word(config, "state_unlocked" if lock else "state_off", "UNLOCKED" if lock else off),
        )
    handle = None
    if command is not None and "command_template" not in config:
        handle = Handle(name="locked" if lock else "on", kind="switch", topic=command, on=on, off=off)
    yield entity, handle


def _brightness(config: dict[str, Any]) -> Iterator[Part]:
    """Of a light of the default schema."""
    full = number(config.get("brightness_scale")) or "255"
    state, command = _topic(config.get("brightness_state_topic")), _topic(config.get("brightness_command_topic"))
    template = plain_text(config.get("brightness_value_template")) or ""
    try:
        check(template)
    except BadTemplate:
        state = None
    entity = handle = None
    if state is not None:
        entity = Entity(name="brightness", kind="number", topic=state, template=template, full=full)
    if command is not None:
        handle = Handle(name="brightness", kind="dimmer", topic=command, minimum="0", maximum=full, whole=True)
    yield entity, handle


def _json_light(state: str | None, command: str | None, config: dict[str, Any]) -> Iterator[Part]:
    full = number(config.get("brightness_scale")) or "255"
    bright = config.get("brightness") is True or bool(config.get("supported_color_modes"))
    entity = handle = None
    if state is not None:
        entity = Entity(name="on", kind="boolean", topic=state, json_light=True)
    if command is not None:
        handle = Handle(name="on", kind="switch", topic=command, on='{"state":"ON"}', off='{"state":"OFF"}')
    yield entity, handle
    if not bright:
        return
    if state is not None:
        entity = Entity(name="brightness", kind="number", topic=state, json_light=True, full=full)
    if command is not None:
        payload = '{"state":"ON","brightness":{value}}'
        handle = Handle(
            name="brightness", kind="dimmer", topic=command, payload=payload, minimum="0", maximum=full, whole=True
        )
    yield entity, handle


def _number(
    object_id: str, state: str | None, command: str | None, template: str, config: dict[str, Any]
) -> Iterator[Part]:
    known = number_name(plain_text(config.get("device_class")) or "") or number_name(_own_word(object_id, config))
    name = known[0] if known is not None else _own_word(object_id, config)
    unit = foreign_unit(config.get("unit_of_measurement")) or (known[1] if known is not None else "")
    if not name:
        return
    entity = handle = None
    if state is not None:
        entity = Entity(name=name, kind="number", topic=state, template=template, unit=unit)
    low, high = number(config.get("min", 1)), number(config.get("max", 100))
    sendable = "command_template" not in config and low is not None and high is not None
    if command is not None and sendable and Decimal(low or 0) < Decimal(high or 0):
        handle = Handle(name=name, kind="number", topic=command, minimum=low, maximum=high)
    yield entity, handle


def _select(
    object_id: str, state: str | None, command: str | None, template: str, config: dict[str, Any]
) -> Iterator[Part]:
    name = _own_word(object_id, config)
    options = config.get("options")
    words = tuple(w for option in options[:64] if (w := plain_text(option))) if isinstance(options, list) else ()
    if not name:
        return
    entity = Entity(name=name, kind="text", topic=state, template=template) if state is not None else None
    handle = None
    if command is not None and words and "command_template" not in config:
        handle = Handle(name=name, kind="select", topic=command, options=words)
    yield entity, handle
