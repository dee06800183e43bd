"""From settings and a board's configuration to readings and pins, on MicroPython, with a fake `machine`."""

import asyncio
import json

from tests.node.drivers.buses import Clock, told
from tests.node.drivers.cases_bosch import MEASURED, Chip
from tests.node.drivers.cases_lines import Thermometer, rom_of
from tests.node.drivers.fake_machine import PINS, Machine, Modules

from thingroom_node.actuators import Actuator, Actuators
from thingroom_node.equipment import ACTUATORS, SENSORS, add_sensors, animate, make_actuator_driver
from thingroom_node.hardware import Hardware
from thingroom_node.sensors import Sensors
from thingroom_node.settings import SettingsError, parse_settings
from thingroom_wire.cbor import Decimal

CONFIG = {
    "name": "test-board",
    "buses": [
        {"kind": "i2c", "name": "i2c0", "id": 0, "scl": 22, "sda": 21},
        {"kind": "i2c", "name": "i2c1", "id": 1, "scl": 18, "sda": 19, "frequency": 400000},
        {"kind": "uart", "name": "uart1", "id": 1, "tx": 17, "rx": 16},
        {"kind": "onewire", "name": "onewire", "pin": 4},
    ],
    "led": {"kind": "gpio", "pin": 2, "active_low": True},
    "battery": {"pin": 35, "divider": [100, 100]},
}
NODE = {"directory": "/tmp", "profile": "climate", "host": "h"}


class Bench:
    """A board with a BME280 on i2c0 and two DS18B20; time passes when sensors wait."""

    def __init__(self, port="esp32", config=CONFIG):
        self.clock = Clock()
        self.chips = {0x76: Chip(self.clock, 0x60, MEASURED + b"\x75\x30", 16)}
        wire = {rom_of(number): Thermometer(self.clock, 0x0191 + number) for number in (1, 2)}
        self.machine = Machine(port, self.chips)
        self.modules = Modules(wire, b"\x02\x8c\x01\x5f\xee")
        self.board = Hardware(config, self.machine, self.modules.load)
        self.events = []

    async def sleep_ms(self, pause):
        self.clock.now += pause

    def sensors(self, entries, directory="/tmp"):
        settings = parse_settings(json.dumps(dict(NODE, sensors=entries)))
        made = Sensors(self.events.append, self.sleep_ms)
        add_sensors(settings.sensors, self.board, made, self.clock.uptime, directory)
        return made

    def measure(self, entries):
        return told(asyncio.run(self.sensors(entries).measure()))

    def trouble(self, entries):
        try:
            self.sensors(entries)
        except SettingsError as error:
            return str(error)
        raise AssertionError("it was taken")


def case_sensors_on_buses_and_pins():
    bench = Bench()
    hexadecimal = "".join([f"{byte:02x}" for byte in rom_of(2)])
    found = bench.measure(
        [
            {"driver": "bme280", "names": {"temperature": "inside"}},
            {"driver": "ds18b20", "rom": hexadecimal},
            {"driver": "dht22", "pin": 13, "names": {"temperature": "cellar", "humidity": "cellar_humidity"}},
            {"driver": "adc", "pin": 32},
            {"driver": "soil", "pin": 33, "dry": 2000, "wet": 1000},
            {"driver": "battery"},
            {"driver": "contact", "pin": 14, "inverted": True, "pull": "up"},
        ]
    )
    assert found == {
        "inside": "25.08 Cel",
        "humidity": "45.25 %RH",
        "pressure": "100653.3 Pa",
        "temperature": "25.1875 Cel",
        "cellar": "35.1 Cel",
        "cellar_humidity": "65.2 %RH",
        "voltage": "1.652 V",
        "moisture": "34.8 %",
        "battery_level": "3 %EL",
        "battery_voltage": "3.304 V",
        "open": "True",
    }, found
    assert bench.machine.buses == [(0, 100_000, 22, 21)] and bench.modules.wires == [4] and bench.events == []


def renamed(end):
    return {name: name + end for name in ("temperature", "humidity", "pressure")}


def case_one_bus_is_made_once_and_shared():
    bench = Bench()
    bench.chips[0x77] = bench.chips[0x76]
    found = bench.measure(
        [
            {"driver": "bme280"},
            {
                "driver": "bme280",
                "address": 0x77,
                "names": renamed("_2"),
            },
            {
                "driver": "bme280",
                "bus": "i2c1",
                "names": renamed("_3"),
            },
        ]
    )
    assert len(found) == 9 and bench.machine.buses == [(0, 100_000, 22, 21), (1, 400_000, 18, 19)]


def case_a_sensor_that_is_not_there_is_said_and_the_rest_goes_on():
    bench = Bench()
    found = bench.measure([{"driver": "bme280", "address": 0x77}, {"driver": "adc", "pin": 32}])
    assert found == {"voltage": "1.652 V"}
    assert bench.events[0]["reason"] == "no BME280 at 0x77: check wiring; found 0x76"
    assert bench.events[0]["sensor"] == "bme280[0]"


def case_a_pico_has_another_converter():
    assert Bench("rp2").measure([{"driver": "adc", "pin": 26}]) == {"voltage": "1.650 V"}


def case_every_driver_can_be_made():
    places = {"hx711": {"data": 25, "clock": 26}}
    for kind, (_, _, attached, _) in SENSORS.items():
        entry = dict({"driver": kind}, **places.get(attached, {}))
        if attached in ("dht", "analog", "counter", "input"):
            entry["pin"] = 27
        made = Bench().sensors([entry], "/nowhere")
        assert made.failures == {}
    assert set(ACTUATORS) == {"relay", "pwm", "neopixel"}


def case_what_is_wrong_with_the_settings_is_said():
    bench = Bench()
    for entries, expected in (
        ([{"driver": "bme281"}], "no sensor driver 'bme281'; there are adc"),
        ([{"driver": "bme280", "adress": 1}], "bme280[0] has no option 'adress'; it has names, bus, address"),
        ([{"driver": "bme280", "address": 300}], "address is a whole number from 8 to 119"),
        ([{"driver": "bme280", "address": True}], "address is a whole number"),
        ([{"driver": "bme280", "bus": "i2c7"}], "no i2c i2c7; it has i2c0, i2c1"),
        ([{"driver": "dht22"}], "dht22[0] needs pin"),
        ([{"driver": "dht22", "pin": 99}], "no pin 99"),
        ([{"driver": "dht22", "pin": 1.5}], "pin is a pin's number or name"),
        ([{"driver": "adc", "pin": 12}, {"driver": "soil", "pin": 12}], "soil[1] wants pin 12, which adc[0] has"),
        ([{"driver": "bme280"}, {"driver": "dht22", "pin": 22}], "dht22[1] wants pin 22, which i2c0 has"),
        ([{"driver": "battery", "chemistry": "coal"}], "one of lipo, lifepo4, alkaline"),
        ([{"driver": "battery", "divider": [1]}], "two whole numbers"),
        ([{"driver": "ds18b20", "rom": "28"}], "16 hex digits"),
        ([{"driver": "ds18b20", "rom": ""}], "rom is a text"),
        ([{"driver": "soil", "pin": 1, "dry": 5, "wet": 5}], "the same value twice"),
        ([{"driver": "hx711", "data": 1, "clock": 3, "per_kg": 0}], "the same value twice"),
        ([{"driver": "scd4x", "low_power": 1}], "true or false"),
        ([{"driver": "bme280", "names": ["a"]}], "names is an object"),
        ([{"pin": 1}], "has objects with a driver"),
    ):
        assert expected in bench_trouble(entries), (entries, bench_trouble(entries))
    no_battery = dict(CONFIG)
    del no_battery["battery"]
    assert "does not measure its battery" in Bench(config=no_battery).trouble([{"driver": "battery"}])
    bench.board = None
    assert bench.trouble([{"driver": "bme280"}]) == "bme280[0] needs a board with pins."


def bench_trouble(entries):
    return Bench().trouble(entries)


def case_an_edge_between_samples_is_a_motion():
    bench = Bench()
    sensors = bench.sensors([{"driver": "motion", "pin": 12}])
    pin = PINS[12]
    expectations = (
        ((), False),
        ((1, 0), True),
        ((), False),
        ((1,), True),
        ((), True),
        ((0,), False),
        ((1, 0, 1), True),
    )
    for moves, expected in expectations:
        for level in moves:
            pin.move(level)
        assert told(sensors.read_now()) == {"motion": str(expected)}, moves


def case_a_change_wakes_the_node():
    bench = Bench()
    sensors = bench.sensors([{"driver": "contact", "pin": 12}])
    pin = PINS[12]
    woken = []

    async def scenario():
        watching = asyncio.create_task(sensors.watch(lambda: woken.append(pin.level)))
        for level in (1, 0):
            await asyncio.sleep_ms(0)
            pin.move(level)
            while not woken or woken[-1] != level:
                await asyncio.sleep_ms(1)
        watching.cancel()

    asyncio.run(asyncio.wait_for(scenario(), 30))
    assert woken == [1, 0]


def case_pulses_are_counted_and_kept(directory):
    bench = Bench()
    entries = [{"driver": "water_meter", "pin": 12, "debounce_ms": 0}]
    sensors = bench.sensors(entries, directory)
    pin = PINS[12]
    pin.level = 1
    for _ in range(25):
        pin.move(0)
        pin.move(1)
    bench.clock.now = 3_600_000
    assert told(sensors.read_now())["pulses"] == "25 count"
    again = Bench().sensors(entries, directory)
    assert told(again.read_now())["volume"] == "0.0250 m3"


def case_bouncing_is_not_counted():
    bench = Bench()
    sensors = bench.sensors([{"driver": "energy_meter", "pin": 12, "debounce_ms": 1000}], "/nowhere")
    pin = PINS[12]
    for _ in range(5):
        pin.move(1)
        pin.move(0)
    assert told(sensors.read_now())["pulses"] == "0 count"


def actuators(bench, entries):
    settings = parse_settings(json.dumps(dict(NODE, actuators=entries)))
    shared, strips, made = {}, [], []
    for entry in settings.actuators:
        driver = make_actuator_driver(entry, bench.board, strips, shared)
        limits = entry["minimum"], entry["maximum"], entry["options"]
        made.append(Actuator(entry["name"], entry["kind"], driver, entry["name"], entry["unit"], *limits))
    return Actuators(made), strips


def case_actuators_move_pins():
    bench = Bench()
    made, _ = actuators(
        bench,
        [
            {"name": "pump", "driver": "relay", "pin": 5, "inverted": True},
            {"name": "on", "driver": "pwm", "pin": 6, "frequency": 500},
            {"name": "brightness", "driver": "pwm", "pin": 6, "kind": "dimmer"},
        ],
    )
    assert PINS[5].level == 1 and len(bench.machine.pwms) == 1
    assert made.set("pump", True) == "done" and PINS[5].level == 0
    assert made.set("brightness", Decimal(505, -1)) == "done" and bench.machine.pwms[0].duty == 16383
    assert made.set("brightness", 101) == "bad_value" and made.set("lamp", True) == "unknown_actuator"
    assert {record.name: record.value for record in made.records()} == {"pump": True, "on": True, "brightness": 50}


def case_a_lamp_that_is_on_while_its_pin_is_low():
    bench = Bench()
    made, _ = actuators(bench, [{"name": "on", "driver": "pwm", "pin": 6, "inverted": True}])
    assert bench.machine.pwms[0].duty == 65535
    made.set("on", True)
    assert bench.machine.pwms[0].duty == 0


def case_a_strip_is_one_strip_and_moves_by_itself():
    bench = Bench()
    effects = ["none", "rainbow"]
    made, strips = actuators(
        bench,
        [
            {"name": "on", "driver": "neopixel", "pin": 7, "pixels": 8},
            {"name": "effect", "driver": "neopixel", "pin": 7, "pixels": 8, "kind": "select", "options": effects},
            {"name": "lamp2", "part": "on", "driver": "neopixel", "pin": 8},
        ],
    )
    assert [strip.n for strip in bench.modules.strips] == [8, 1] and len(strips) == 2
    pixels = bench.modules.strips[0]

    async def scenario():
        event = asyncio.Event()
        drawing = asyncio.create_task(animate(strips[0], event, asyncio.sleep_ms))
        made.set("on", True)
        await asyncio.sleep_ms(0)
        made.set("effect", "rainbow")
        before = pixels.writes
        while pixels.writes < before + 4:
            await asyncio.sleep_ms(1)
        drawing.cancel()

    asyncio.run(asyncio.wait_for(scenario(), 30))
    assert made.set("effect", "lava") == "bad_value"


def case_what_is_wrong_with_actuators_is_said():
    for entry, expected in (
        ({"name": "lamp", "driver": "magic", "pin": 1}, "no actuator driver 'magic'"),
        ({"name": "lamp", "driver": "relay"}, "needs a pin"),
        ({"name": "lamp", "driver": "pwm", "pin": 1}, "needs a part: brightness, on"),
        ({"name": "lamp", "driver": "relay", "pin": 22, "pixels": 0}, "1 to 1000"),
    ):
        try:
            actuators(Bench(), [entry])
        except SettingsError as error:
            assert expected in str(error), str(error)
        else:
            raise AssertionError(entry)


def case_the_boards_own_light():
    bench = Bench()
    light = bench.board.led()
    assert PINS[2].level == 1
    light(True)
    assert PINS[2].level == 0
    bench = Bench(config={"led": {"kind": "neopixel", "pin": 48}})
    bench.board.led()(True)
    assert bench.modules.strips[0].pixels == [(12, 12, 12)]
    assert Bench(config={}).board.led() is None


def case_the_hx711s_clock_is_not_interrupted():
    bench = Bench()
    data, clock = bench.board.hx711(25, 26, "scale")
    clock.pulse()
    assert bench.machine.interrupts and PINS[26].level == 0 and data.number == 25
