"""Boards, drivers and node together on MicroPython: every board's buses, and a whole node that measures with some."""

import json
from pathlib import Path

from tests.micropython_runner import run_file, run_source

from thingroom.boards import board_json, load_boards

HERE = Path(__file__).parent
ROOT = HERE.parents[2]

OPEN_ALL = """
import json, sys
from tests.node.drivers.fake_machine import Machine, Modules
from thingroom_node import board
for line in sys.stdin:
    config = json.loads(line)
    hardware = board.open_hardware(config)
    opened = []
    for bus in config["buses"]:
        if bus["kind"] == "i2c":
            hardware.i2c(bus["name"])
        elif bus["kind"] == "uart":
            hardware.uart(bus["name"], 9600)
        elif bus["kind"] == "onewire":
            hardware.wire(None)
        else:
            continue
        opened.append(bus["name"])
    if hardware.battery is not None:
        opened.append(hardware.analog(hardware.battery["pin"], "battery").millivolts())
    light = hardware.led()
    if light is not None:
        light(True)
    print(json.dumps(opened))
"""
MACHINE = """
from tests.node.drivers import fake_machine
Pin, UART, ADC = fake_machine.Pin, fake_machine.Uart, fake_machine.PlainAdc
def I2C(number, **more):
    return number
"""
STAND_IN = "def OneWire(pin):\n    return pin\nclass NeoPixel:\n    def __init__(self, pin, n):\n        self.n = n\n"
STAND_IN += "    def __setitem__(self, index, colour):\n        pass\n    def write(self):\n        pass\n"


def test_the_buses_of_every_board_can_be_opened(tmp_path: Path) -> None:
    (tmp_path / "machine.py").write_text(MACHINE)
    for name in ("onewire", "neopixel"):
        (tmp_path / f"{name}.py").write_text(STAND_IN)
    boards = load_boards()
    text = "".join(board_json(board).decode() + "\n" for board in boards.values())
    lines = run_source(OPEN_ALL, stdin=text, path=[tmp_path, ROOT]).splitlines()
    opened = dict(zip(boards, map(json.loads, lines), strict=True))
    for name, board in boards.items():
        wanted = [bus.name for bus in board.buses if not bus.name.startswith("spi")]
        assert opened[name] == (wanted if board.power.battery is None else [*wanted, 1650])


def test_a_whole_node_measures_with_real_drivers(tmp_path: Path) -> None:
    result = json.loads(run_file(HERE / "whole_node.py", str(tmp_path), path=[ROOT], timeout=90))
    assert result["told"] == {
        "temperature": "25.08 Cel",
        "humidity": "45.25 %RH",
        "pressure": "100653.3 Pa",
        "outside": "25.0625 Cel",
        "open": "True",
        "pump": "False",
    }
    failed = [event for event in result["events"] if event["event"] == "sensor_failed"]
    assert [event["count"] for event in failed] == [1, 2] and failed[0]["sensor"] == "bme280[2]"
    assert failed[0]["reason"] == "no BME280 at 0x77: check wiring; found 0x76"
