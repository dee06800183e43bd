"""Sensors and actuators as the settings list them: which driver, on which bus or pin of the board, with which options.

The tables say what there is; a driver is only loaded into memory when it is asked for. `board` is a Hardware, or None
where there are no pins. May import errors, durable, thingroom_wire. docs/boards.md tells what a maker writes.
"""

from thingroom_node import durable
from thingroom_node.errors import SettingsError
from thingroom_wire import cbor

# Driver: (module in drivers/, class, what it is attached to, options).
SENSORS = {
    "bme280": ("bme280", "Bme280", "i2c", ("address",)),
    "bmp280": ("bmp280", "Bmp280", "i2c", ("address",)),
    "sht3x": ("sht3x", "Sht3x", "i2c", ("address",)),
    "sht4x": ("sht4x", "Sht4x", "i2c", ("address",)),
    "scd4x": ("scd4x", "Scd4x", "i2c", ("altitude", "self_calibration", "low_power")),
    "lm75": ("lm75", "Lm75", "i2c", ("address",)),
    "tmp105": ("lm75", "Tmp105", "i2c", ("address", "bits")),
    "emc1413": ("emc1413", "Emc1413", "i2c", ("address",)),
    "bh1750": ("bh1750", "Bh1750", "i2c", ("address",)),
    "dps310": ("dps310", "Dps310", "i2c", ("address", "oversampling")),
    "ina219": ("ina219", "Ina219", "i2c", ("address", "shunt")),
    "vl53l0x": ("vl53l0x", "Vl53l0x", "i2c", ()),
    "ds18b20": ("ds18b20", "Ds18b20", "wire", ("rom", "bits")),
    "dht22": ("dht22", "Dht22", "dht", ()),
    "pms5003": ("pms5003", "Pms5003", "uart", ("warm_up",)),
    "hx711": ("hx711", "Hx711", "hx711", ("zero", "per_kg")),
    "adc": ("analog", "Voltage", "analog", ("divider",)),
    "soil": ("analog", "Soil", "analog", ("dry", "wet")),
    "battery": ("analog", "Battery", "battery", ("divider", "chemistry", "cells")),
    "water_meter": ("pulses", "WaterMeter", "counter", ("per_unit",)),
    "energy_meter": ("pulses", "EnergyMeter", "counter", ("per_unit",)),
    "contact": ("contact", "Contact", "input", ("quantity",)),
    "motion": ("contact", "Motion", "input", ()),
}
# What says where it is attached.
PLACES = {
    "i2c": ("bus",),
    "uart": ("bus",),
    "wire": ("pin",),
    "dht": ("pin",),
    "hx711": ("data", "clock"),
    "analog": ("pin",),
    "battery": ("pin",),
    "counter": ("pin", "pull", "debounce_ms"),
    "input": ("pin", "pull", "inverted"),
}
NEEDED = ("data", "clock", "pin")
# Whole numbers: smallest and greatest; words: those that there are; else a type.
_OPTIONS = {
    "address": (0x08, 0x77),
    "altitude": (0, 3000),
    "bits": (9, 12),
    "cells": (1, 20),
    "chemistry": ("lipo", "lifepo4", "alkaline"),
    "debounce_ms": (0, 1000),
    "dry": (0, 5000),
    "inverted": bool,
    "low_power": bool,
    "oversampling": (1, 128),
    "per_kg": (-8_388_608, 8_388_607),
    "per_unit": (1, 1_000_000),
    "pull": ("up", "down", "none"),
    "quantity": str,
    "rom": str,
    "self_calibration": bool,
    "shunt": (1, 1_000_000),
    "warm_up": (0, 120),
    "wet": (0, 5000),
    "zero": (-8_388_608, 8_388_607),
}
# Driver: (module, class, what it is attached to).
ACTUATORS = {
    "relay": ("relay", "Relay", "output"),
    "pwm": ("dimmer", "Dimmer", "pwm"),
    "neopixel": ("neopixel_strip", "Strip", "pixels"),
}


def add_sensors(entries, board, sensors, uptime, directory):
    """Make what the setting `sensors` lists and add it to the Sensors. Raises SettingsError, StorageError."""
    for place, entry in enumerate(entries):
        kind = entry["driver"]
        if kind not in SENSORS:
            raise SettingsError(
                "There is no sensor driver {!r}; there are {}.".format(kind, ", ".join(sorted(SENSORS)))
            )
        label = "{}[{}]".format(kind, place)
        module, class_name, attached, options = SENSORS[kind]
        _check(entry, label, attached, options)
        if board is None:
            raise SettingsError("{} needs a board with pins.".format(label))
        given = {option: entry[option] for option in options if option in entry}
        if attached == "counter":
            counter = board.counter(entry["pin"], label, entry.get("pull", "up"), entry.get("debounce_ms", 20), uptime)
            attachment = counter, PulseMemory(directory + "/pulses_{}".format(entry["pin"])), uptime
        else:
            attachment = _attach(entry, label, attached, board, sensors, given)
        sensors.add(label, _load(module, class_name)(*attachment, **given), entry.get("names"))


def make_actuator_driver(entry, board, strips, made):
    """The driver of one of the setting `actuators`. `made` keeps what several of them share by its pin.

    A Strip is added to the list `strips` when it is made: `animate` draws its effects. Raises SettingsError.
    """
    name, kind, pin = entry["name"], entry["driver"], entry["pin"]
    if kind not in ACTUATORS:
        raise SettingsError(
            "There is no actuator driver {!r}; there are {}.".format(kind, ", ".join(sorted(ACTUATORS)))
        )
    if board is None or pin is None:
        raise SettingsError("The actuator {!r} needs a pin of a board.".format(name))
    module, class_name, attached = ACTUATORS[kind]
    if attached == "output":
        return _load(module, class_name)(board.output(pin, name, entry["inverted"]))
    if (kind, pin) not in made:
        if attached == "pwm":
            device = _load(module, class_name)(board.pwm(pin, name, entry["frequency"], entry["inverted"]))
        else:
            device = _load(module, class_name)(board.pixels(pin, name, entry["pixels"]))
            strips.append(device)
        made[(kind, pin)] = device
    parts = made[(kind, pin)].parts
    part = entry["part"] or name
    if part not in parts:
        raise SettingsError("The actuator {!r} needs a part: {}.".format(name, ", ".join(sorted(parts))))
    return parts[part]


async def animate(strip, event, sleep_ms):
    """Draw the frames of a Strip's effects for ever. `event` is an asyncio.Event of its own."""
    strip.changed = event.set
    while True:
        pause = strip.frame()
        if pause is None:
            await event.wait()
            event.clear()
        else:
            await sleep_ms(pause)


class PulseMemory:
    """A number in a file, replaced atomically."""

    def __init__(self, path):
        self._path = path

    def load(self):
        """The number; 0 where there is none yet. Raises StorageError."""
        stored = durable.read_checked(self._path)
        return 0 if stored is None else cbor.decode(stored)

    def save(self, number):
        """Raises OSError."""
        durable.write_atomic(self._path, cbor.encode(number))


def _unknown(what, kind, table):
    return SettingsError("There is no {} driver {!r}; there are {}.".format(what, kind, ", ".join(sorted(table))))


def _attach(entry, label, attached, board, sensors, given):
    """The arguments before the options: bus, pin, line."""
    pin = entry.get("pin")
    if attached == "i2c":
        return (board.i2c(entry.get("bus", "")),)
    if attached == "uart":
        return (board.uart(entry.get("bus", ""), 9600),)
    if attached == "wire":
        return (board.wire(pin),)
    if attached == "dht":
        return (board.dht(pin, label),)
    if attached == "hx711":
        return board.hx711(entry["data"], entry["clock"], label)
    if attached == "analog":
        return (board.analog(pin, label),)
    if attached == "battery":
        if pin is None:
            if board.battery is None:
                raise SettingsError("{} needs a pin: this board does not measure its battery.".format(label))
            pin = board.battery["pin"]
            given.setdefault("divider", board.battery["divider"])
        return (board.analog(pin, label),)
    line = board.input(pin, label, entry.get("inverted", False), entry.get("pull", "none"))
    sensors.add_signal(line.changed)
    return (line,)


def _check(entry, label, attached, options):
    known = ("driver", "names") + PLACES[attached] + options
    for key, value in entry.items():
        if key not in known:
            raise SettingsError("{} has no option {!r}; it has {}.".format(label, key, ", ".join(known[1:])))
        if key in _OPTIONS:
            _check_option(label, key, value, _OPTIONS[key])
        elif key == "divider" and not _is_divider(value):
            raise SettingsError("{}: divider is two whole numbers, [above, below].".format(label))
        elif key == "bus" and not isinstance(value, str):
            raise SettingsError("{}: bus is a text.".format(label))
        elif key in NEEDED and (isinstance(value, bool) or not isinstance(value, (int, str))):
            raise SettingsError("{}: {} is a pin's number or name.".format(label, key))
        elif key == "names" and not _is_names(value):
            raise SettingsError("{}: names is an object of texts.".format(label))
    for key in PLACES[attached]:
        if key in NEEDED and key not in entry and attached not in ("wire", "battery"):
            raise SettingsError("{} needs {}.".format(label, key))
    if entry.get("per_kg") == 0 or ("dry" in entry and entry["dry"] == entry.get("wet")):
        raise SettingsError("{} is calibrated with the same value twice.".format(label))
    if "rom" in entry and not _is_rom(entry["rom"]):
        raise SettingsError("{}: rom is 16 hex digits.".format(label))


def _check_option(label, key, value, rule):
    if rule in (bool, str):
        if not isinstance(value, rule) or value == "":
            raise SettingsError("{}: {} is {}.".format(label, key, "true or false" if rule is bool else "a text"))
    elif isinstance(rule[0], str):
        if value not in rule:
            raise SettingsError("{}: {} is one of {}.".format(label, key, ", ".join(rule)))
    elif isinstance(value, bool) or not isinstance(value, int) or not rule[0] <= value <= rule[1]:
        raise SettingsError("{}: {} is a whole number from {} to {}.".format(label, key, rule[0], rule[1]))


def _is_divider(value):
    if not isinstance(value, list) or len(value) != 2:
        return False
    return all(type(part) is int and 0 <= part <= 10_000_000 for part in value) and value[1] > 0


def _is_names(value):
    return isinstance(value, dict) and all(isinstance(name, str) and name for name in value.values())


def _is_rom(text):
    return len(text) == 16 and all(character in "0123456789abcdefABCDEF" for character in text)


def _load(module, class_name):
    return getattr(__import__("thingroom_node.drivers." + module, None, None, (class_name,)), class_name)
