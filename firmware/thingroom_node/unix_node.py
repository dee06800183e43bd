"""The node's composition root on MicroPython's unix port.

Reads the settings, opens what is on disk, chooses driver and link, and prints one JSON object a line for every event.
Being killed is the normal way to stop. unix_main.py is the file to run; runner.py is where the work is.
"""

import asyncio
import gc
import json
import os
import sys
import time
from binascii import hexlify

from thingroom_node import board, durable, identity
from thingroom_node.actuators import Actuator, Actuators
from thingroom_node.clock import Clock, Uptime
from thingroom_node.commander import Commander
from thingroom_node.commands import open_journal
from thingroom_node.configuration import open_configuration
from thingroom_node.counters import open_counters
from thingroom_node.drivers.simulated import PROFILES, Simulated
from thingroom_node.node import Numbering
from thingroom_node.outbox import SEGMENTS, open_outbox
from thingroom_node.runner import Runner
from thingroom_node.sensors import Sensors
from thingroom_node.settings import SettingsError, parse_settings
from thingroom_wire import keys
from thingroom_wire.errors import WireError

MAX_SETTINGS = 4096


def emit(event):
    """Print an event as one line of JSON."""
    print(json.dumps(event))


def make_sensors(settings, emit, hardware, uptime):
    """The Sensors that the settings ask for. `hardware` is None where there are no pins. Raises SettingsError."""
    sensors = Sensors(emit, asyncio.sleep_ms)
    sensor = settings.sensor
    if sensor["kind"] == "simulated" and settings.profile in PROFILES:
        seed = sensor.get("seed", 0)
        if not isinstance(seed, int):
            raise SettingsError("The setting 'sensor.seed' is a whole number.")
        sensors.add("simulated", Simulated(settings.profile, seed))
    elif sensor["kind"] != "none":
        raise SettingsError(
            "The setting 'sensor.kind' is 'none' or, with the profiles climate and soil, 'simulated'; real ones are "
            "listed in 'sensors'."
        )
    if settings.sensors:
        from thingroom_node.equipment import add_sensors

        add_sensors(settings.sensors, hardware, sensors, uptime, settings.directory)
    return sensors


def make_actuators(settings, hardware, strips):
    """The Actuators that the settings ask for; NeoPixels are added to the list `strips`, for equipment.animate.

    `hardware` is None where there are no pins. Raises SettingsError, StorageError.
    """
    made = []
    shared = {}
    for entry in settings.actuators:
        if entry["driver"] == "simulated":
            from thingroom_node.drivers.simulated_actuator import SimulatedActuator

            first = {"switch": False, "select": (entry["options"] or [""])[0]}.get(entry["kind"], entry["minimum"])
            path = settings.directory + "/actuator_" + entry["name"]
            driver = SimulatedActuator(path, first, entry["delay_ms"])
        else:
            from thingroom_node.equipment import make_actuator_driver

            driver = make_actuator_driver(entry, hardware, strips, shared)
        quantity = entry["quantity"] or entry["name"]
        limits = entry["minimum"], entry["maximum"], entry["options"]
        made.append(Actuator(entry["name"], entry["kind"], driver, quantity, entry["unit"], *limits))
    return Actuators(made)


def load_link(settings):
    """The class of the link that is asked for; the others are not loaded into memory."""
    if settings.link == "coap":
        from thingroom_node.links.coap import CoapLink

        return CoapLink
    if settings.link == "serial":
        from thingroom_node.links.serial import SerialLink

        return SerialLink
    from thingroom_node.links.mqtt import MqttLink

    return MqttLink


def make_linker(link_class, settings, kid, uptime):
    """The function that Runner makes links with."""

    def make_link(username, password, on_answer, pairing):
        host, port = settings.host, settings.port
        if settings.link == "coap":
            return link_class(host, port, on_answer, _random_below)
        if settings.link == "serial":
            return link_class(_port_opener(settings), on_answer, uptime)
        return link_class(host, port, kid, username, password, on_answer, uptime, pairing)

    return make_link


def _port_opener(settings):
    """The function that a serial link opens its line with: `host` is the line's path."""
    from thingroom_node.links.serial_port import SerialPort

    def open_port():
        return SerialPort(settings.host, settings.baud)

    return open_port


def open_directory(directory, is_first_start):
    """Make the directories, for the owner's eyes only: MicroPython's files have no mode argument."""
    durable.make_directory(directory)
    if is_first_start:
        # The path is quoted, and it is the owner's own setting.
        os.system("chmod 700 -- '" + directory.replace("'", "'\\''") + "'")  # noqa: S605
    durable.make_directory(directory + "/outbox")


def make_runner(settings, emit, hardware=None):
    """Open everything and put the node together. `hardware`: a Hardware where there are pins, for tests.

    Raises StorageError, SettingsError, OSError.
    """
    uptime = Uptime(time.ticks_ms, time.ticks_diff)
    sensors = make_sensors(settings, emit, hardware, uptime)
    # Compiled before anything else takes and scatters memory.
    link_class = load_link(settings)
    is_new_key = not durable.exists(identity.identity_path(settings.directory))
    open_directory(settings.directory, is_new_key)
    counters = open_counters(settings.directory + "/counters", is_new_key)
    own = identity.open_identity(settings.directory)
    gateway = identity.load_gateway(settings.directory)
    if settings.gateway_key is not None and not _is_pinned(gateway, settings):
        try:
            gateway = identity.pin_gateway(
                settings.directory, own, settings.gateway_key, settings.gateway_agreement_key, b""
            )
        except WireError as error:
            raise SettingsError("The setting 'gateway' holds no usable keys: {}.".format(error.reason))
    outbox = open_outbox(settings.directory + "/outbox", counters, settings.outbox_bytes // SEGMENTS)
    base_name = keys.base_name(board.eui64(own.key_id))
    newest = outbox.load_newest()
    numbering = Numbering(own.key_id, base_name, counters, newest)
    commander = Commander(
        own.key_id,
        open_journal(settings.directory + "/commands", newest),
        make_actuators(settings, hardware, []),
        open_configuration(settings.directory + "/configuration"),
    )
    clock = Clock(uptime, _host_time if settings.clock == "host" else None)
    emit(
        {
            "event": "key",
            "kid": own.kid,
            "key": hexlify(own.public).decode(),
            "agreement_key": hexlify(own.agreement_public).decode(),
            "boot": counters.boot,
            "waiting": outbox.waiting,
            "torn_bytes": outbox.torn_bytes,
            "lost_total": counters.lost,
        }
    )
    linker = make_linker(link_class, settings, own.kid, uptime)
    return Runner(settings, own, gateway, clock, counters, outbox, numbering, sensors, linker, emit, commander)


def main(arguments):
    """Run the node. Returns the exit status, when there is one."""
    if len(arguments) != 2:
        print("usage: unix_main.py NODE.JSON", file=sys.stderr)
        return 2
    try:
        with open(arguments[1]) as file:
            settings = parse_settings(file.read(MAX_SETTINGS))
        runner = make_runner(settings, emit)
    except (SettingsError, durable.StorageError, OSError) as error:
        print("{}: {}".format(arguments[1], error), file=sys.stderr)
        return 2
    # From here on nothing is compiled any more.
    gc.threshold(-1)
    asyncio.run(runner.run())
    return 1


def _is_pinned(gateway, settings):
    if gateway is None:
        return False
    return gateway.public == settings.gateway_key and gateway.agreement_public == settings.gateway_agreement_key


def _host_time():
    return time.time_ns() // 1_000_000


def _random_below(limit):
    return int.from_bytes(os.urandom(4), "big") % limit
