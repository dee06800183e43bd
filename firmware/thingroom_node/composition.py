"""Puts a node together out of its settings and the platform that it runs on; loaded once, at the start, then dropped.

A platform (unix_node.py, board_main.py) has `hardware` (a Hardware or None), `host_time` (a callable for Unix ms, or
None), `eui64(key_id)`, `make_private(directory)`, `port_opener(settings)` (a function that opens the serial line),
`wifi(settings)` (an object with `async connect()`, or None), `feeder()` (a function that feeds the watchdog, or None)
and `light()` (a callable that takes True for on, or None). runner.py is what comes out: read it next.
"""

import asyncio
import time
from binascii import hexlify

from thingroom_node import board, durable, identity, memory
from thingroom_node.actuators import Actuator, Actuators
from thingroom_node.clock import Clock, Uptime
from thingroom_node.commander import Commander
from thingroom_node.commands import open_journal
from thingroom_node.configuration import open_configuration
from thingroom_node.counters import open_counters
from thingroom_node.errors import SettingsError
from thingroom_node.linker import Linker
from thingroom_node.node import Numbering
from thingroom_node.outbox import open_outbox, shape
from thingroom_node.runner import Runner
from thingroom_node.sensors import Sensors
from thingroom_wire import keys
from thingroom_wire.errors import WireError


def make_sensors(settings, emit, hardware, uptime):
    """The Sensors that the settings ask for. `hardware` is None where there are no pins. Raises SettingsError."""
    sensors = Sensors(emit, asyncio.sleep_ms)
    sensor = settings.sensor
    if sensor["kind"] == "simulated":
        from thingroom_node.drivers.simulated import PROFILES, Simulated

        seed = sensor.get("seed", 0)
        if settings.profile not in PROFILES or not isinstance(seed, int):
            raise SettingsError("A simulated sensor has the profile climate or soil, and a whole number as its seed.")
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


def make_runner(settings, emit, platform):
    """Open everything and put the node together. Raises StorageError, SettingsError, OSError."""
    uptime = Uptime(time.ticks_ms, time.ticks_diff)
    sensors = make_sensors(settings, emit, platform.hardware, uptime)
    is_new_key = not durable.exists(identity.identity_path(settings.directory))
    durable.make_directory(settings.directory)
    if is_new_key:
        platform.make_private(settings.directory)
    durable.make_directory(settings.directory + "/outbox")
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
    outbox = open_outbox(settings.directory + "/outbox", counters, *shape(settings.outbox_bytes))
    newest = outbox.load_newest()
    numbering = Numbering(own.key_id, keys.base_name(platform.eui64(own.key_id)), counters, newest)
    strips = []
    commander = Commander(
        own.key_id,
        open_journal(settings.directory + "/commands", newest),
        make_actuators(settings, platform.hardware, strips),
        open_configuration(settings.directory + "/configuration"),
    )
    clock = Clock(uptime, platform.host_time if settings.clock == "host" else None)
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
    linker = Linker(settings, own.kid, uptime, platform.port_opener(settings) if settings.link == "serial" else None)
    runner = Runner(settings, own, gateway, clock, counters, outbox, numbering, sensors, linker, emit, commander)
    runner.wifi = platform.wifi(settings) if settings.link != "serial" else None
    _prepare_updates(runner, numbering.last + 1)
    batched = settings.batch["samples"] > 1
    if batched or durable.exists(settings.directory + "/batch"):
        from thingroom_node.batch import open_batch

        limits = settings.batch["samples"], settings.batch["seconds"] * 1000
        runner.batch = open_batch(settings.directory + "/batch", *limits, newest)
        runner.send_batch()
    if strips:
        from thingroom_node.equipment import animate

        for strip in strips:
            runner.tasks.append(animate(strip, asyncio.Event(), asyncio.sleep_ms))
    if (feed := platform.feeder()) is not None:
        runner.tasks.append(runner.watchdog.feed_forever(feed, asyncio.sleep_ms))
    if (light := platform.light()) is not None:
        runner.tasks.append(runner.signs.show_forever(light, asyncio.sleep_ms))
    return runner


def _prepare_updates(runner, first):
    """What the runner has to know of updates; `first` is the number of the first reading of this run."""
    from thingroom_node.update import slots

    place = slots.where()
    if place is not None:
        state = slots.read(*place)
        runner.update = (slots.architecture(), state["counter"], state["outcome"])
        if state["trial"] == place[1]:
            from thingroom_node.update.trial import Trial

            runner.trial = Trial(place[0], place[1], first)
            runner.tasks.append(runner.trial.watch(asyncio.sleep_ms, board.reset))
            return
    memory.unload("thingroom_node.update.slots", "thingroom_node.update")


def _is_pinned(gateway, settings):
    if gateway is None:
        return False
    return gateway.public == settings.gateway_key and gateway.agreement_public == settings.gateway_agreement_key
