"""What flashing knows without a board: ports, plans, settings, questions, and a sentence for each failure."""

from __future__ import annotations

import json
import os
import pty
import tempfile
import threading
import tty
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from thingroom.boards import find_board, load_boards
from thingroom.cli import main
from thingroom.flashing import gateway_side, monitor, ports, trouble
from thingroom.flashing.node_settings import (
    GatewayAddress,
    GatewayKeys,
    Network,
    check_network,
    node_json,
    read_networks,
    sensor_entry,
    usual_profile,
)
from thingroom.flashing.plan import Kind, Wanted, make_plan
from thingroom.flashing.ports import Port
from thingroom.flashing.trouble import FlashError
from thingroom_gateway.config import CoapConfig, GatewayConfig, MqttConfig
from thingroom_node.settings import parse_settings

BOARDS = load_boards()
DEVKIT = BOARDS["esp32-devkit"]
ESP, PICO, MODEM = (
    Port("/dev/ttyUSB0", "10c4:ea60"),
    Port("/dev/ttyACM0", "2e8a:0005"),
    Port("/dev/ttyACM1", "dead:beef"),
)


def settings(**changes) -> bytes:
    usual = {
        "name": "Kitchen",
        "profile": "bme280",
        "sensors": [sensor_entry("bme280")],
        "address": GatewayAddress("mqtt", "192.0.2.1", 1884),
        "networks": [Network("Home", "sesame street")],
        "keys": GatewayKeys("ab" * 32, "cd" * 32),
        "pairing_code": "",
        "others": {},
    }
    return node_json(**{**usual, **changes})


def wanted(**changes) -> Wanted:
    usual = Wanted(
        DEVKIT, "/dev/ttyUSB0", None, "", False, False, 460_800, "Kitchen", "", "bme280", [sensor_entry("bme280")], {},
        GatewayAddress("mqtt", "192.0.2.1", 1884), [Network("Home", "sesame street")],
    )  # fmt: skip
    return replace(usual, **changes)


@pytest.mark.parametrize(
    ("there", "wanted", "chosen"),
    [
        ([MODEM, ESP], "", ESP),
        ([MODEM], "", MODEM),
        ([PICO, Port("/dev/ttyS0")], "", PICO),
        ([], "", "No board was found"),
        ([ESP, PICO], "", "--port /dev/ttyACM0"),
        ([Port("/dev/ttyS0")], "", "Plug it in by USB"),
        ([ESP], "/dev/ttyUSB9", "Is the board plugged in"),
    ],
)
def test_the_port_is_chosen_or_asked_for(there: list[Port], wanted: str, chosen: Port | str) -> None:
    if isinstance(chosen, Port):
        assert ports.choose_port(there, BOARDS.values(), wanted) == chosen
    else:
        with pytest.raises(FlashError, match=chosen):
            ports.choose_port(there, BOARDS.values(), wanted)


def test_boards_are_guessed_by_usb() -> None:
    assert "esp32-devkit" in [board.name for board in ports.boards_of(ESP, BOARDS.values())]
    assert all(board.port == "rp2" for board in ports.boards_of(PICO, BOARDS.values()))
    assert ports.boards_of(Port("/dev/ttyS0"), BOARDS.values()) == []


def test_who_has_a_port_open_is_found_in_proc(tmp_path: Path) -> None:
    port = tmp_path / "ttyUSB0"
    port.touch()
    descriptors = tmp_path / "proc" / "4321" / "fd"
    descriptors.mkdir(parents=True)
    (descriptors / "7").symlink_to(port)
    (tmp_path / "proc" / "4321" / "comm").write_text("picocom\n")
    assert ports.holders(str(port), tmp_path / "proc") == ["picocom (4321)"]
    assert ports.holders(str(tmp_path / "other"), tmp_path / "proc") == []


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("Could not open /dev/x, the port is busy", "is busy"),
        ("[Errno 13] could not open port: Permission denied", "group dialout"),
        ("A fatal error occurred: Wrong boot mode detected (0x13)!", "press and let go EN"),
        ("Failed to connect to ESP32: No serial data received.", "boot loader. Hold BOOT"),
        ("A fatal error occurred: MD5 of file does not match data in flash!", "--baud 115200"),
        ("File image.bin (length 9) at offset 0 will not fit in 4 bytes of flash", "larger than the board's flash"),
        ("A fatal error occurred: Timed out waiting for packet content", "stopped answering"),
        ("device reports readiness to read but returned no data (device disconnected?)", "went away"),
        ("ERROR: something new", "something new"),
        ("", "said nothing"),
    ],
)
def test_words_of_esptool(output: str, said: str) -> None:
    assert said in trouble.esptool_failed(output, "/dev/x", DEVKIT)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("Traceback:\nOSError: [Errno 28] ENOSPC", "file system is full"),
        ("OSError: [Errno 30] EROFS", "cannot be written"),
        ("MemoryError: memory allocation failed", "out of memory"),
        ("ValueError: incompatible .mpy file", "without --keep-micropython"),
        ("NameError: x", "NameError: x"),
    ],
)
def test_words_of_the_board(error: str, said: str) -> None:
    assert said in trouble.board_failed(error)


def test_permission_and_wrong_chip() -> None:
    assert "sudo usermod -a -G dialout maria" in trouble.no_permission("/dev/x", "dialout", "maria")
    assert "whoever looks after" in trouble.no_permission("/dev/x", "", "maria")
    assert "Boards with it: esp32-c3" in trouble.wrong_chip("esp32c3", DEVKIT, ["esp32-c3"])
    assert "picocom (1) has it open" in trouble.busy("/dev/x", ["picocom (1)"])


def test_no_permission_on_a_real_file() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        device = Path(folder) / "ttyUSB0"
        device.touch(mode=0)
        refused(device)
        with pytest.raises(FlashError, match="There is no port"):
            ports.check_access(f"{folder}/none")


def refused(device: Path) -> None:
    us = os.geteuid()
    if us == 0:
        # Root may use everything, so somebody else asks.
        os.seteuid(65534)
    try:
        with pytest.raises(FlashError, match="You may not use"):
            ports.check_access(str(device))
    finally:
        os.seteuid(us)


def test_the_node_takes_the_settings() -> None:
    told = parse_settings(settings().decode())
    assert (told.host, told.port, told.link, told.profile) == ("192.0.2.1", 1884, "mqtt", "bme280")
    assert told.wifi == [{"ssid": "Home", "password": "sesame street"}] and told.gateway_key == b"\xab" * 32
    assert parse_settings(settings(others={"interval_ms": 60_000}).decode()).interval_ms == 60_000
    simulated = json.loads(settings(sensors=[sensor_entry("simulated:seed=4")], profile="climate"))
    assert simulated["sensor"] == {"kind": "simulated", "seed": 4}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"others": {"colour": 1}}, "There is no setting 'colour'"),
        ({"address": GatewayAddress("mqtt", "192.0.2.1", 70_000)}, "port"),
        ({"name": "x" * 5000}, "4000 bytes at most"),
    ],
)
def test_what_the_node_would_refuse_is_refused_here(changes: dict, said: str) -> None:
    with pytest.raises(FlashError, match=said):
        settings(**changes)


def test_sensors_and_their_profiles() -> None:
    assert sensor_entry("ds18b20:pin=15,bits=12") == {"driver": "ds18b20", "pin": 15, "bits": 12}
    assert sensor_entry("battery:chemistry=lipo")["chemistry"] == "lipo"
    assert usual_profile([sensor_entry("tmp105")]) == "lm75" and usual_profile([]) == ""
    for text, said in (("bmee", "There is no sensor 'bmee'"), ("ds18b20:15", "KEY=VALUE")):
        with pytest.raises(FlashError, match=said):
            sensor_entry(text)


def test_networks_of_a_file() -> None:
    assert read_networks('[[networks]]\nssid = "A"\n[[networks]]\nssid = "B"\npassword = "12345678"', "f") == [
        Network("A"),
        Network("B", "12345678"),
    ]
    assert "12345678" not in repr(Network("B", "12345678")), "passwords are not printed"
    for text in ("", "networks = 3", "[[networks]]\nname = 'A'", "]["):
        with pytest.raises(FlashError, match=r"\[\[networks\]\]"):
            read_networks(text, "f")
    for network in (Network(""), Network("x" * 33), Network("A", "short")):
        with pytest.raises(FlashError):
            check_network(network)


def test_plans() -> None:
    kinds = [step.kind for step in make_plan(wanted())]
    assert kinds == [Kind.IMAGE, Kind.WRITE_ESP, Kind.INTERRUPT, Kind.COPY, Kind.KEY, Kind.SETTINGS, Kind.START]
    assert Kind.WIPE in [step.kind for step in make_plan(wanted(wipe=True))]
    kept = make_plan(wanted(keep_micropython=True, gateway=GatewayConfig(server_name="a", owner="@b:a")))
    assert [step.kind for step in kept][:2] == [Kind.INTERRUPT, Kind.COPY] and Kind.ENROL in [one.kind for one in kept]
    pico = make_plan(wanted(board=find_board("pico-w"), port="", drive=Path("/media/RPI-RP2")))
    assert pico[1].kind is Kind.WRITE_UF2 and "/media/RPI-RP2" in pico[1].text
    assert "sesame" not in "".join(step.text for step in make_plan(wanted()))


def test_where_a_board_finds_the_gateway() -> None:
    def config(host: str) -> GatewayConfig:
        return GatewayConfig(
            server_name="a", owner="@b:a", mqtt=MqttConfig(host=host, port=1884), coap=CoapConfig(enabled=False)
        )

    assert gateway_side.address_for(config("192.0.2.9"), "mqtt", False) == GatewayAddress("mqtt", "192.0.2.9", 1884)
    assert gateway_side.address_for(config("127.0.0.1"), "mqtt", True).host == "127.0.0.1"
    assert gateway_side.address_for(config("127.0.0.1"), "serial", False) == GatewayAddress("serial")
    with pytest.raises(FlashError, match="listens for mqtt on this machine only"):
        gateway_side.address_for(config("localhost"), "mqtt", False)
    with pytest.raises(FlashError, match="takes nothing over coap"):
        gateway_side.address_for(config("192.0.2.9"), "coap", False)


def test_a_port_that_is_not_there(tmp_path: Path) -> None:
    for words in (["monitor", "/dev/ttyNone9"], ["devices", "--port", "/dev/ttyNone9"]):
        said = CliRunner().invoke(main, words)
        assert said.exit_code == 1 and "Many cables only charge" in said.output


def test_events_are_readable() -> None:
    assert (
        monitor.readable('{"event":"link_lost","reason":"timeout","in_ms":5}') == "link lost: reason timeout, in_ms 5"
    )
    assert monitor.readable("ets Jul 29 2019\x1b[2J") == "ets Jul 29 2019\N{REPLACEMENT CHARACTER}[2J"
    assert monitor.readable("[1]") == "[1]" and monitor.readable('{"event":3}') == '{"event":3}'
    lines = monitor.Lines()
    assert lines.feed(b"a\r\nb") == ["a"] and lines.feed(b"c\n") == ["bc"]
    assert lines.feed(b"x" * 9000) == ["x" * monitor.MAX_LINE]


def test_monitor_shows_sends_waits_and_leaves(tmp_path: Path) -> None:
    keys, typing = os.pipe()
    port = tmp_path / "ttyBoard"
    seen: list[str] = []
    arrived = threading.Condition()

    def say(text: str) -> None:
        with arrived:
            seen.append(text)
            arrived.notify_all()

    def wait_for(word: str) -> None:
        with arrived:
            assert arrived.wait_for(lambda: any(word in text for text in seen), 60), (word, seen)

    def plug_in() -> tuple[int, int]:
        master, slave = pty.openpty()
        tty.setraw(slave)
        port.unlink(missing_ok=True)
        port.symlink_to(os.ttyname(slave))
        return master, slave

    master, slave = plug_in()
    watcher = threading.Thread(target=monitor.watch, args=(str(port), say, keys, lambda: 0.0))
    watcher.start()
    # What comes before the port is open is not shown: the board says it until it is.
    while not seen:
        os.write(master, b'{"event":"sampled","sequence":7}\n')
        with arrived:
            arrived.wait(0.1)
    assert seen[0].endswith("sampled: sequence 7")
    os.write(typing, b"\x03")
    assert os.read(master, 1) == b"\x03"
    os.close(slave)
    port.unlink()
    os.close(master)
    wait_for("went away")
    master, slave = plug_in()
    wait_for("is back")
    os.write(typing, monitor.LEAVE)
    watcher.join(60)
    assert not watcher.is_alive()
    for descriptor in (master, slave, keys, typing):
        os.close(descriptor)
