"""The whole application, compiled as for a board, in a heap of its own size: over MQTT and over CoAP.

Words have 64 bits here, so everything but code and text is twice as large as on a board.
"""

from pathlib import Path

import pytest
from tests.node.coap_gateway import CoapGateway
from tests.node.mosquitto_broker import Broker, gateway_on
from tests.node.node_process import NodeProcess, node_settings, write_image
from tests.node.stand_in_gateway import StandInGateway
from tests.node.test_node_over_mosquitto import acknowledged

CODE = bytes(range(16))
# CoAP takes datagrams in one piece.
HEAPS = {"mqtt": "208k", "coap": "256k"}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_image(tmp_path_factory.mktemp("image"))


def settings(folder: Path, link: str, port: int) -> dict:
    actuators = [{"name": "on"}]
    return node_settings(folder, link=link, port=port, pairing_code=CODE.hex(), interval_ms=20, actuators=actuators)


async def test_over_mqtt(tmp_path: Path, image: Path) -> None:
    gateway = StandInGateway(CODE)
    async with (
        Broker(tmp_path) as broker,
        gateway_on(broker, gateway),
        NodeProcess(tmp_path, settings(tmp_path, "mqtt", broker.port), HEAPS["mqtt"], image) as node,
    ):
        await node.until(lambda: set(range(1, 101)) <= acknowledged(node), 60)
    gateway.check_chain()


async def test_over_coap(tmp_path: Path, image: Path) -> None:
    gateway = StandInGateway(CODE)
    async with (
        CoapGateway(gateway) as server,
        NodeProcess(tmp_path, settings(tmp_path, "coap", server.port), HEAPS["coap"], image) as node,
    ):
        await node.until(lambda: set(range(1, 101)) <= acknowledged(node), 60)
    gateway.check_chain()
