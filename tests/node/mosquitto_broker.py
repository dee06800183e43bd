"""A real Mosquitto on a free loopback port, and a stand-in gateway that listens on it."""

import asyncio
import contextlib
import getpass
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiomqtt
from tests.free_port import free_port
from tests.node.stand_in_gateway import StandInGateway
from tests.patience import tries

MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"


class Broker:
    """Mosquitto that can be stopped and started again on the same port; with `lines` of configuration added."""

    def __init__(self, folder: Path, lines: str = "allow_anonymous true\n") -> None:
        self.port = free_port()
        self._file = folder / "mosquitto.conf"
        # Started by root it would become another user, who cannot read a test's files.
        user = getpass.getuser()
        self._file.write_text(f"listener {self.port} 127.0.0.1\nuser {user}\npersistence false\n{lines}")
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            MOSQUITTO, "-c", str(self._file), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        for _ in tries():
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return
            await asyncio.sleep(0.02)
        raise AssertionError("Mosquitto did not start")

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def __aenter__(self) -> "Broker":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


Tap = Callable[[str, bytes], None]


@contextlib.asynccontextmanager
async def gateway_on(broker: Broker, gateway: StandInGateway, tap: Tap | None = None) -> AsyncIterator[aiomqtt.Client]:
    """Let `gateway` answer on `broker`; yields its client. `tap(topic, payload)` sees every message first."""
    async with aiomqtt.Client(
        "127.0.0.1", broker.port, identifier="gateway", username="gateway", password="stand-in", clean_session=False
    ) as client:
        await client.subscribe("thingroom/1/+/#", qos=1)
        answering = asyncio.create_task(_answer(client, gateway, tap))
        try:
            yield client
        finally:
            # Python 3.11's wait_for, which publishing uses, may swallow a cancellation.
            while not answering.done():
                answering.cancel()
                await asyncio.wait([answering], timeout=0.1)
            if not answering.cancelled():
                answering.result()


async def _answer(client: aiomqtt.Client, gateway: StandInGateway, tap: Tap | None) -> None:
    async for message in client.messages:
        topic, payload = str(message.topic), bytes(message.payload)
        if tap is not None:
            tap(topic, payload)
        base, _, leaf = topic.rpartition("/")
        take = {"up": gateway.take_envelope, "hello": gateway.take_hello}.get(leaf)
        answer = take(payload) if take else None
        if answer is not None:
            await client.publish(f"{base}/down", answer, qos=1)
