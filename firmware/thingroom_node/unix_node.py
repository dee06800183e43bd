"""The node's composition root on MicroPython's unix port.

Reads the settings, opens what is on disk, chooses driver and link, and prints one JSON object a line for every event.
Being killed is the normal way to stop. unix_main.py is the file to run; runner.py is where the work is.
"""

import asyncio
import json
import os
import sys
import time
from binascii import hexlify

from thingroom_node import board, durable, identity
from thingroom_node.clock import Clock, Uptime
from thingroom_node.counters import open_counters
from thingroom_node.drivers.simulated import PROFILES, Simulated
from thingroom_node.node import Numbering
from thingroom_node.outbox import SEGMENTS, open_outbox
from thingroom_node.runner import Runner
from thingroom_node.settings import SettingsError, parse_settings
from thingroom_wire import keys
from thingroom_wire.errors import WireError

MAX_SETTINGS = 4096


def emit(event):
    """Print an event as one line of JSON."""
    print(json.dumps(event))


def make_driver(settings):
    """The driver that the settings ask for. Raises SettingsError."""
    sensor = settings.sensor
    if sensor["kind"] != "simulated" or settings.profile not in PROFILES:
        raise SettingsError("The unix port has the sensor kind 'simulated', with the profiles climate and soil.")
    seed = sensor.get("seed", 0)
    if not isinstance(seed, int):
        raise SettingsError("The setting 'sensor.seed' is a whole number.")
    return Simulated(settings.profile, seed)


def load_link(settings):
    """The class of the link that is asked for; the other one is not loaded into memory."""
    if settings.link == "coap":
        from thingroom_node.links.coap import CoapLink

        return CoapLink
    from thingroom_node.links.mqtt import MqttLink

    return MqttLink


def make_linker(link_class, settings, kid, uptime):
    """The function that Runner makes links with."""

    def make_link(username, password, on_answer, pairing):
        host, port = settings.host, settings.port
        if settings.link == "coap":
            return link_class(host, port, on_answer, _random_below)
        return link_class(host, port, kid, username, password, on_answer, uptime, pairing)

    return make_link


def open_directory(directory, is_first_start):
    """Make the directories, for the owner's eyes only: MicroPython's files have no mode argument."""
    durable.make_directory(directory)
    if is_first_start:
        # The path is quoted, and it is the owner's own setting.
        os.system("chmod 700 -- '" + directory.replace("'", "'\\''") + "'")  # noqa: S605
    durable.make_directory(directory + "/outbox")


def make_runner(settings, emit):
    """Open everything and put the node together. Raises StorageError, SettingsError, OSError."""
    driver = make_driver(settings)
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
    numbering = Numbering(own.key_id, base_name, counters, outbox.load_newest())
    uptime = Uptime(time.ticks_ms, time.ticks_diff)
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
    return Runner(settings, own, gateway, clock, counters, outbox, numbering, driver, linker, emit)


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
