"""`node.json`: what the owner says about this node. Parsed once, checked, unknown keys refused. Pure.

May import errors. composition.py builds the node from the Settings.
"""

import json
from binascii import unhexlify
from collections import namedtuple

from thingroom_node.errors import SettingsError

Settings = namedtuple(
    "Settings",
    (
        "directory",
        "name",
        "profile",
        "link",
        "host",
        "port",
        "baud",
        "pairing_code",
        "gateway_key",
        "gateway_agreement_key",
        "interval_ms",
        "sensor",
        "sensors",
        "actuators",
        "clock",
        "outbox_bytes",
        "mqtt_version",
        "tls",
        "ca",
        "ntp",
        "uart",
        "wifi",
        "batch",
        "full",
    ),
)

DEFAULT_PORTS = {"mqtt": 1883, "coap": 5683, "serial": 0}
MQTTS_PORT = 8883
BAUDS = (9600, 57600, 115200, 230400, 460800, 921600)
DEFAULTS = {
    "directory": "/state",
    "host": "",
    "uart": None,
    "wifi": [],
    "mqtt_version": "3.1.1",
    "tls": False,
    "ca": "",
    "ntp": "",
    "batch": {},
    "full": "thin",
    "name": "",
    "link": "mqtt",
    "port": 0,
    "baud": 115200,
    "pairing_code": "",
    "gateway": None,
    "interval_ms": 10_000,
    "sensor": {"kind": "none"},
    "sensors": [],
    "actuators": [],
    "clock": "gateway",
    "outbox_bytes": 4 * 1024 * 1024,
}
ACTUATOR_KINDS = ("switch", "dimmer", "number", "select")
ACTUATOR_DEFAULTS = {
    "kind": "switch",
    "driver": "simulated",
    "quantity": "",
    "unit": None,
    "minimum": 0,
    "maximum": 100,
    "options": [],
    "delay_ms": 0,
    "pin": None,
    "part": "",
    "inverted": False,
    "frequency": 1000,
    "pixels": 1,
}
REQUIRED = ("profile",)
MIN_OUTBOX_BYTES = 16 * 1024


def parse_settings(text):
    """The Settings in the JSON `text`. Raises SettingsError."""
    try:
        data = json.loads(text)
    except ValueError:
        raise SettingsError("node.json is not valid JSON.")
    if not isinstance(data, dict):
        raise SettingsError("node.json is not a JSON object.")
    for key in data:
        if key not in DEFAULTS and key not in REQUIRED:
            raise SettingsError("There is no setting {!r}.".format(key))
    for key in REQUIRED:
        if key not in data:
            raise SettingsError("The setting {!r} is missing.".format(key))
    merged = DEFAULTS.copy()
    merged.update(data)
    for key in ("directory", "name", "profile", "link", "host", "pairing_code", "clock", "ca", "ntp"):
        _require(isinstance(merged[key], str), key, "must be a text")
    for key in ("directory", "profile"):
        _require(merged[key] != "", key, "must not be empty")
    _require(merged["link"] in DEFAULT_PORTS, "link", "is one of mqtt, coap, serial")
    _require((merged["ntp"].split(":")[1:] or ["1"])[0].isdigit(), "ntp", "is a host, or host:port")
    _require(merged["mqtt_version"] in ("3.1.1", "5", "auto"), "mqtt_version", "is one of 3.1.1, 5, auto")
    _require(isinstance(merged["tls"], bool), "tls", "is true or false")
    _require(not merged["tls"] or merged["link"] == "mqtt", "tls", "is for the link mqtt")
    _require(not merged["tls"] or merged["ca"] != "", "ca", "is missing: a board trusts nobody by itself")
    _require(merged["uart"] is None or type(merged["uart"]) in (int, str), "uart", "is a UART's number or name")
    _require(isinstance(merged["wifi"], list), "wifi", "is a list of objects")
    _require(merged["clock"] in ("gateway", "host"), "clock", "is one of gateway, host")
    _require(merged["full"] in ("thin", "drop"), "full", "is one of thin, drop")
    _integer(merged, "port", 0, 65535)
    _require(merged["baud"] in BAUDS, "baud", "is one of " + ", ".join(str(baud) for baud in BAUDS))
    _integer(merged, "interval_ms", 1, 86_400_000)
    _integer(merged, "outbox_bytes", MIN_OUTBOX_BYTES, 1 << 40)
    _require(isinstance(merged["sensor"], dict) and "kind" in merged["sensor"], "sensor", "is an object with a kind")
    _require(isinstance(merged["sensors"], list), "sensors", "is a list of objects")
    for entry in merged["sensors"]:
        _require(
            isinstance(entry, dict) and isinstance(entry.get("driver"), str), "sensors", "has objects with a driver"
        )
    _require(isinstance(merged["actuators"], list), "actuators", "is a list of objects")
    _require(
        "sensor" in data or merged["sensors"] or merged["actuators"], "sensors", "is missing: nothing would be measured"
    )
    gateway_key, agreement_key = _gateway_keys(merged["gateway"])
    return Settings(
        merged["directory"].rstrip("/") or "/",
        merged["name"],
        merged["profile"],
        merged["link"],
        merged["host"] or "auto",
        merged["port"] or (MQTTS_PORT if merged["tls"] else DEFAULT_PORTS[merged["link"]]),
        merged["baud"],
        parse_code(merged["pairing_code"]),
        gateway_key,
        agreement_key,
        merged["interval_ms"],
        merged["sensor"],
        merged["sensors"],
        [_actuator(entry) for entry in merged["actuators"]],
        merged["clock"],
        merged["outbox_bytes"],
        merged["mqtt_version"],
        merged["tls"],
        merged["ca"],
        merged["ntp"],
        merged["uart"],
        merged["wifi"],
        _batch(merged["batch"]),
        merged["full"],
    )


def parse_code(text):
    """The 16 bytes of a pairing code: 32 hex digits, groups and case do not matter. b"" for none. SettingsError."""
    digits = text.replace(" ", "").replace("-", "")
    return _hex("pairing_code", digits, 16) if digits else b""


def _batch(value):
    """How many samples go into an envelope, and for how many seconds the first of them waits at most."""
    _require(isinstance(value, dict) and set(value) <= {"samples", "seconds"}, "batch", "has samples and seconds")
    merged = {"samples": 1, "seconds": 3600}
    merged.update(value)
    _integer(merged, "samples", 1, 1000)
    _integer(merged, "seconds", 1, 86_400)
    return merged


def _actuator(entry):
    """One of `actuators`, with its defaults filled in."""
    _require(isinstance(entry, dict) and isinstance(entry.get("name"), str), "actuators", "has objects with a name")
    for key in entry:
        _require(key in ACTUATOR_DEFAULTS or key == "name", "actuators", "has no key {!r}".format(key))
    merged = ACTUATOR_DEFAULTS.copy()
    merged.update(entry)
    _require(merged["kind"] in ACTUATOR_KINDS, "actuators.kind", "is one of " + ", ".join(ACTUATOR_KINDS))
    _require(isinstance(merged["quantity"], str), "actuators.quantity", "must be a text")
    _require(merged["unit"] is None or isinstance(merged["unit"], str), "actuators.unit", "must be a text")
    for key in ("minimum", "maximum", "delay_ms", "frequency", "pixels"):
        _require(isinstance(merged[key], int), "actuators." + key, "is a whole number")
    _require(10 <= merged["frequency"] <= 40_000, "actuators.frequency", "is 10 to 40000 Hz")
    _require(1 <= merged["pixels"] <= 1000, "actuators.pixels", "is 1 to 1000")
    _require(merged["pin"] is None or type(merged["pin"]) in (int, str), "actuators.pin", "is a pin's number or name")
    _require(isinstance(merged["part"], str), "actuators.part", "must be a text")
    _require(isinstance(merged["inverted"], bool), "actuators.inverted", "is true or false")
    options = merged["options"]
    _require(
        isinstance(options, list) and bool(options) == (merged["kind"] == "select"),
        "actuators.options",
        "is what a select has",
    )
    for option in options:
        _require(isinstance(option, str), "actuators.options", "is a list of texts")
    return merged


def _gateway_keys(value):
    """Enrolment by key: the gateway's Ed25519 and X25519 public keys, or two None."""
    if value is None:
        return None, None
    _require(
        isinstance(value, dict) and set(value) == {"key", "agreement_key"}, "gateway", "has a key and an agreement_key"
    )
    return _hex("gateway.key", value["key"], 32), _hex("gateway.agreement_key", value["agreement_key"], 32)


def _hex(name, text, length):
    try:
        data = unhexlify(text)
    except (ValueError, TypeError):
        data = b""
    _require(len(data) == length, name, "is {} hex digits".format(2 * length))
    return data


def _integer(merged, key, low, high):
    value = merged[key]
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    _require(is_integer and low <= value <= high, key, "is a whole number from {} to {}".format(low, high))


def _require(condition, key, wish):
    if not condition:
        raise SettingsError("The setting {!r} {}.".format(key, wish))
