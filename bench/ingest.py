"""Envelopes a second that the gateway takes, from bytes and from MQTT to committed, against PyNaCl's verify alone.

`python bench/ingest.py` (or `main()`): medians of several rounds in one process, so that the ratio to PyNaCl is of the
same machine in the same minute. Needs Mosquitto for the MQTT rows and leaves them out where it is missing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / part) for part in ("", "gateway", "common", "firmware")]

from tests.gateway.brokers import GATEWAY_PASSWORD, Mosquitto, mosquitto  # noqa: E402
from tests.gateway.gateway_support import Thing, gateway, make_config  # noqa: E402

from bench.mqtt_publisher import connect_packet, publish_packets  # noqa: E402
from thingroom_gateway.app import Gateway  # noqa: E402
from thingroom_gateway.outcomes import Accepted, Frame, Outcome  # noqa: E402
from thingroom_wire.envelope import parse_envelope  # noqa: E402


class Feed:
    """A link that offers as fast as ingest takes."""

    def __init__(self, running: Gateway) -> None:
        self._ingest = running.ingest
        self._room = asyncio.Event()
        self._done = asyncio.Event()
        self._missing = 0

    async def send(self, payloads: list[bytes]) -> None:
        self._missing = len(payloads)
        self._done.clear()
        for payload in payloads:
            frame = Frame("up", payload, "coap")
            while not self._ingest.offer(frame, self):
                self._room.clear()
                await self._room.wait()
        await self._done.wait()

    def settled(self, settled: list[tuple[Frame, Outcome]]) -> None:
        assert all(type(outcome) is Accepted for _, outcome in settled)
        self._missing -= len(settled)
        if not self._missing:
            self._done.set()

    def resume(self) -> None:
        self._room.set()


def verify_rate(thing: Thing, payloads: list[bytes]) -> float:
    """PyNaCl's verifications a second over the very same envelopes, nothing else."""
    parsed = [parse_envelope(payload) for payload in payloads]
    verify = thing.signing.verify_key.verify
    start = time.perf_counter()
    for envelope in parsed:
        verify(envelope.signed_bytes, envelope.signature)
    return len(payloads) / (time.perf_counter() - start)


async def from_bytes(running: Gateway, payloads: list[bytes]) -> float:
    feed = Feed(running)
    start = time.perf_counter()
    await feed.send(payloads)
    return len(payloads) / (time.perf_counter() - start)


async def from_mqtt(running: Gateway, broker: Mosquitto, thing: Thing, payloads: list[bytes]) -> float:
    """All published at QoS 1 by one connection as one stream, the clock stops when the last is committed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
    writer.write(connect_packet("bench", "gateway", GATEWAY_PASSWORD))
    await reader.read(100)
    topic = f"thingroom/1/{thing.hex[0]}/{thing.hex}/up"
    stream = b"".join(publish_packets((topic, payload) for payload in payloads))
    drain = asyncio.create_task(_drain(reader))
    before = running.core.counters["mqtt.accepted"]
    start = time.perf_counter()
    writer.write(stream)
    while running.core.counters["mqtt.accepted"] < before + len(payloads):
        await asyncio.sleep(0.002)
    seconds = time.perf_counter() - start
    drain.cancel()
    writer.close()
    return len(payloads) / seconds


async def _drain(reader: asyncio.StreamReader) -> None:
    while await reader.read(65_536):
        pass


@contextlib.asynccontextmanager
async def _gateway(broker: Mosquitto | None, version: str, thing: Thing) -> AsyncIterator[Gateway]:
    with tempfile.TemporaryDirectory() as directory:
        # No homeserver: events wait in the outbox.
        config = make_config(Path(directory), "http://127.0.0.1:9", broker, **({"protocol": version} if broker else {}))
        async with gateway(config, thing) as running:
            yield running


async def measure(envelopes: int, rounds: int) -> list[tuple[str, float, float]]:
    """Rows of (what, median a second, median ratio to PyNaCl's verify in the same round)."""
    thing = Thing()
    rates: dict[str, list[float]] = {}
    ratios: dict[str, list[float]] = {}

    def note(what: str, rate: float, base: float) -> None:
        rates.setdefault(what, []).append(rate)
        ratios.setdefault(what, []).append(rate / base)

    def fresh() -> list[bytes]:
        return [thing.envelope() for _ in range(envelopes)]

    with tempfile.TemporaryDirectory() as directory:
        broker = mosquitto(Path(directory) / "broker") if shutil.which("mosquitto") else None
        try:
            for _ in range(rounds):
                async with _gateway(None, "5", thing) as running:
                    payloads = fresh()
                    base = verify_rate(thing, payloads)
                    note("PyNaCl verify alone", base, base)
                    note("ingest, bytes to committed", await from_bytes(running, payloads), base)
                for version in ("5", "3.1.1") if broker else ():
                    assert broker is not None
                    async with _gateway(broker, version, thing) as running:
                        payloads = fresh()
                        base = verify_rate(thing, payloads)
                        rate = await from_mqtt(running, broker, thing, payloads)
                        note(f"ingest, MQTT {version} to committed", rate, base)
        finally:
            if broker is not None:
                broker.stop()
    return [(what, statistics.median(rates[what]), statistics.median(ratios[what])) for what in rates]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Envelopes a second through the gateway's one door.")
    parser.add_argument("--envelopes", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args(arguments)
    rows = asyncio.run(measure(given.envelopes, given.rounds))
    print(f"{'what':<36} {'per second':>12} {'of PyNaCl':>10}")
    for what, rate, ratio in rows:
        print(f"{what:<36} {rate:>12,.0f} {ratio:>9.0%}")


if __name__ == "__main__":
    main()
