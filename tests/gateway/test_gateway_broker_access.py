"""Password and access files against the real mosquitto and mosquitto_passwd, and amqtt under the same rules."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiomqtt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.free_port import free_port
from tests.gateway.brokers import GATEWAY_PASSWORD, Mosquitto, wait_for_port
from tests.gateway.fake_homeserver import FakeHomeserver
from tests.gateway.gateway_support import Thing, eventually, gateway, make_config, write_config
from tests.patience import PATIENCE_SECONDS, tries

from thingroom_gateway.broker_access import AccessFiles, check_password, may, password_line, signal_mosquitto
from thingroom_gateway.config import GatewayConfig
from thingroom_wire.downlink import parse_answer
from thingroom_wire.keys import pairing_keys

REPOSITORY = Path(__file__).resolve().parents[2]
KID, OTHER = "0123456789abcdef", "fedcba9876543210"


def test_we_read_what_mosquitto_passwd_writes(tmp_path: Path) -> None:
    path = tmp_path / "passwords"
    path.touch(0o600)
    subprocess.run(["mosquitto_passwd", "-b", str(path), "somebody", "s3cret: with $signs"], check=True)
    user, _, hashed = path.read_text().strip().partition(":")
    assert user == "somebody"
    assert check_password(hashed, "s3cret: with $signs")
    assert not check_password(hashed, "s3cret")


@given(st.text(max_size=40))
def test_a_damaged_password_line_lets_nobody_in(hashed: str) -> None:
    assert not check_password(hashed, "password")
    assert not check_password(f"$7$101${hashed}$AAAA", "password")


def test_only_the_password_fits() -> None:
    hashed = password_line(KID, "right", b"0123456789ab").partition(":")[2]
    assert check_password(hashed, "right")
    assert not check_password(hashed, "wrong")
    assert not check_password(hashed, "")


@pytest.mark.parametrize(
    ("user", "action", "topic", "allowed"),
    [
        ("gateway", "read", "thingroom/1/+/+/up", True),
        ("gateway", "write", f"thingroom/1/0/{KID}/down", True),
        ("gateway", "write", "elsewhere", False),
        (KID, "write", f"thingroom/1/0/{KID}/up", True),
        (KID, "write", f"thingroom/1/0/{KID}/status", True),
        (KID, "write", f"thingroom/1/0/{KID}/down", False),
        (KID, "read", f"thingroom/1/0/{KID}/down", True),
        (KID, "read", "thingroom/1/+/+/down", False),
        (KID, "read", "#", False),
        (KID, "write", f"thingroom/1/f/{OTHER}/up", False),
        (KID, "read", f"thingroom/1/f/{OTHER}/down", False),
        ("pairing", "write", f"thingroom/1/0/{KID}/hello", True),
        ("pairing", "write", f"thingroom/1/0/{KID}/up", False),
        ("pairing", "read", f"thingroom/1/0/{KID}/down", True),
        ("pairing", "read", f"thingroom/1/0/{KID}/up", False),
    ],
)
def test_who_may_do_what(user: str, action: str, topic: str, allowed: bool) -> None:
    assert may(user, "gateway", action, topic) is allowed  # type: ignore[arg-type]


@pytest.mark.parametrize("user", ["gateway", KID, "pairing"])
async def test_mosquitto_agrees_with_the_rules(broker: Callable[..., Mosquitto], user: str) -> None:
    """Every user publishes to and subscribes to every kind of topic; what arrives is what `may` says."""
    mosquitto = broker()
    passwords = {name: f"{name}-password" for name in (KID, "pairing")} | {"gateway": GATEWAY_PASSWORD}
    lines = [password_line(name, password, os.urandom(12)) for name, password in passwords.items()]
    mosquitto.files.passwords.write_text("".join(f"{line}\n" for line in lines))
    assert mosquitto.files.pid is not None
    await eventually(mosquitto.files.pid.exists)
    assert signal_mosquitto(mosquitto.files.pid)
    topics = [f"thingroom/1/0/{kid}/{kind}" for kid in (KID, OTHER) for kind in ("up", "hello", "status", "down")]
    async with contextlib.AsyncExitStack() as stack:
        clients = {}
        for name in dict.fromkeys(("gateway", user)):
            clients[name] = await stack.enter_async_context(await _connected(mosquitto, name, passwords[name]))
        heard: dict[str, list[str]] = {"gateway": [], user: []}
        for name, client in clients.items():
            stack.enter_context(_listening(client, heard[name]))
            for topic in topics:
                await client.subscribe(topic, qos=1)
        for topic in topics:
            await clients[user].publish(topic, f"from {user}", qos=1)
        await clients["gateway"].publish("thingroom/1/0/end", b"end", qos=1)
        written = [topic for topic in topics if may(user, "gateway", "write", topic)]
        await eventually(lambda: len(heard["gateway"]) >= len(written))
        assert heard["gateway"] == written
        heard[user].clear()
        for topic in topics:
            await clients["gateway"].publish(topic, b"from the gateway", qos=1)
        readable = [topic for topic in topics if may(user, "gateway", "read", topic)]
        await eventually(lambda: len(heard[user]) >= len(readable))
        await asyncio.sleep(0.1)
        assert heard[user] == readable


async def _connected(mosquitto: Mosquitto, user: str, password: str) -> aiomqtt.Client:
    """A client that will get in: Mosquitto has read its users."""

    def client() -> aiomqtt.Client:
        return aiomqtt.Client("127.0.0.1", mosquitto.port, username=user, password=password, identifier=f"{user}-test")

    for _ in tries():
        try:
            async with client():
                return client()
        except aiomqtt.MqttError:
            await asyncio.sleep(0.05)
    raise AssertionError(f"{user} is not let in")


@contextlib.contextmanager
def _listening(client: aiomqtt.Client, heard: list[str]):  # type: ignore[no-untyped-def]
    async def listen() -> None:
        async for message in client.messages:
            heard.append(message.topic.value)

    task = asyncio.get_running_loop().create_task(listen())
    try:
        yield
    finally:
        task.cancel()


def test_only_a_mosquitto_is_ever_signalled(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    assert not signal_mosquitto(pid_file)
    for text in ("", "0", "1", "-1", "x", str(os.getpid()), "99999999"):
        pid_file.write_text(text)
        assert not signal_mosquitto(pid_file)


async def test_files_are_for_the_owner_and_follow_the_devices(tmp_path: Path, homeserver: FakeHomeserver) -> None:
    files = AccessFiles(tmp_path / "passwords", None, None)
    thing = Thing()
    config = make_config(tmp_path, homeserver.url)
    managed = type(config.mqtt)(enabled=False, password="g" * 32, password_file=str(files.passwords))
    config = type(config)(**{**{f: getattr(config, f) for f in config.__struct_fields__}, "mqtt": managed})
    async with gateway(config, thing) as running:
        assert stat.S_IMODE(files.passwords.stat().st_mode) == 0o600
        assert _users(files.passwords) == {"gateway", thing.hex}
        running.core.pairing.open(1)
        assert _users(files.passwords) == {"gateway", thing.hex, "pairing"}
        running.core.pairing.close()
        await running.core.enrolment.revoke(thing.kid)
        assert _users(files.passwords) == {"gateway"}


def _users(path: Path) -> set[str]:
    return {line.partition(":")[0] for line in path.read_text().splitlines()}


# --- amqtt -----------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def amqtt(config: GatewayConfig, config_file: Path) -> AsyncIterator[None]:
    """Our amqtt broker in a process of its own."""
    path = os.pathsep.join(str(REPOSITORY / part) for part in ("gateway", "common", "firmware"))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "thingroom_gateway.amqtt_broker",
        "--config",
        str(config_file),
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path},
    )
    try:
        await asyncio.to_thread(wait_for_port, config.mqtt.port)
        yield
    finally:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == 0


async def test_everything_works_with_amqtt_too(tmp_path: Path, homeserver: FakeHomeserver) -> None:
    """Pairing, readings, answers and refusals through the broker of our own."""
    passwords = tmp_path / "passwords"
    fake = Mosquitto(free_port(), AccessFiles(passwords, None, None), tmp_path / "none", None)  # type: ignore[arg-type]
    config = make_config(tmp_path, homeserver.url, fake, protocol="3.1.1", acl_file="", pid_file="")
    config_file = write_config(tmp_path / "thingroom.toml", config)
    thing = Thing(6, name="Porch")

    def client(user: str, password: str) -> aiomqtt.Client:
        return aiomqtt.Client("127.0.0.1", fake.port, username=user, password=password, identifier=thing.hex)

    topic = f"thingroom/1/{thing.hex[0]}/{thing.hex}"
    async with amqtt(config, config_file), gateway(config) as running:
        for user, password in (("pairing", "x"), ("gateway", "x"), ("", "")):
            with pytest.raises(aiomqtt.MqttError):
                async with client(user, password):
                    pass
        window = running.core.pairing.open(1)
        made = pairing_keys(bytes.fromhex(window.code.replace(" ", "")))
        async with client("pairing", made.broker_password) as node:
            await node.subscribe(f"{topic}/down", qos=1)
            await node.publish(f"{topic}/up", thing.envelope(), qos=1)
            await node.publish(f"{topic}/hello", thing.pairing_hello(window.code), qos=1)
            message = await asyncio.wait_for(anext(aiter(node.messages)), PATIENCE_SECONDS)
            answer = parse_answer(message.payload, made.gateway)
        thing.learn(answer.gateway_key, answer.agreement_key)
        # What the pairing user sent to …/up never came through.
        assert not [name for name in running.core.counters.all() if "unknown_device" in name or "accepted" in name]
        thing.sequence = 0
        acknowledged: set[int] = set()
        async with client(thing.hex, thing.password) as node:
            await node.subscribe(f"{topic}/down", qos=1)
            for _ in range(40):
                await node.publish(f"{topic}/up", thing.envelope(), qos=1)
            await node.publish(f"{topic}/up", bytes(1_000_000), qos=1)
            await node.publish(f"{topic}/up", b"\xff" * 50, qos=1)
            async with asyncio.timeout(PATIENCE_SECONDS):
                async for message in node.messages:
                    for first, last in thing.answer(message.payload).acknowledged:  # type: ignore[arg-type]
                        acknowledged.update(range(first, last + 1))
                    if len(acknowledged) == 40:
                        break
            await eventually(lambda: running.core.counters["mqtt.rejected.unexpected_break"] == 1)
            assert running.core.counters["mqtt.rejected.too_large"] == 1
        assert acknowledged == set(range(1, 41))
        await eventually(lambda: homeserver.sequences(thing.hex) == list(range(1, 41)))


@pytest.mark.parametrize(
    ("user", "action", "topic", "allowed"),
    [
        ("devices", "write", "tele/x/SENSOR", True),
        ("devices", "read", "cmnd/x/#", True),
        ("devices", "write", "thingroom/1/0/0123456789abcdef/up", False),
        ("devices", "read", "thingroom/#", False),
        ("devices", "read", "#", False),
        ("devices", "read", "+/1/#", False),
        ("devices", "read", "$SYS/#", False),
        ("gateway", "read", "tele/#", True),
        ("gateway", "read", "+/online", True),
        ("gateway", "write", "cmnd/x/POWER", True),
        ("gateway", "read", "thingroom/1/+/+/up", True),
        ("0123456789abcdef", "write", "tele/x/SENSOR", False),
        ("pairing", "write", "tele/x/SENSOR", False),
    ],
)
def test_plain_devices_have_everything_but_thingroom(user: str, action: str, topic: str, allowed: bool) -> None:
    assert may(user, "gateway", action, topic, "devices") is allowed  # type: ignore[arg-type]
    if not topic.startswith("thingroom/"):
        assert not may(user, "gateway", action, topic)  # type: ignore[arg-type]
