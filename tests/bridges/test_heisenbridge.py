"""heisenbridge, a bridge to IRC of other people's, with Debian's ngircd: a person in Matrix, another on IRC."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from tests.bridges.bridge_environment import bridges_python
from tests.bridges.irc import irc_client, running_ngircd
from tests.bridges.person import Person, person
from tests.bridges.processes import output_of, running, until_it_listens
from tests.free_port import free_port
from tests.homeserver.running import RunningHomeserver, running_homeserver

from thingroom_homeserver.config import HomeserverConfig, load_config

BOT = "@heisenbridge:localhost"
REGISTRATION = "data/heisenbridge.yaml"


TOML = """
[homeserver]
data_directory = "."
registration = "open"
rate_limits = false
password_cost = { memory_kib = 64, passes = 1 }
appservice_files = ["heisenbridge.yaml"]
"""


def heisenbridge() -> str:
    """The command that `pip install heisenbridge` makes."""
    return str(bridges_python().with_name("heisenbridge"))


@contextlib.asynccontextmanager
async def running_bridge(folder: Path, server: RunningHomeserver, port: int) -> AsyncIterator[None]:
    command = (heisenbridge(), "-v", "-c", REGISTRATION, server.base_url)
    async with running(folder / "heisenbridge.log", *command) as process:
        await until_it_listens(process, port)
        yield


async def configured(folder: Path, port: int) -> HomeserverConfig:
    """As docs/operation.md has it: the bridge writes its registration, and thingroom.toml names that file."""
    (folder / "data").mkdir()
    assert "generated" in await output_of(folder, heisenbridge(), "-c", REGISTRATION, "--generate", "-p", str(port))
    (folder / "data" / "thingroom.toml").write_text(TOML)
    return load_config(folder / "data" / "thingroom.toml")


def test_the_worked_example_is_what_is_done_here() -> None:
    text = (Path(__file__).parents[2] / "docs" / "operation.md").read_text()
    for line in (f"heisenbridge -c {REGISTRATION} --generate", 'appservice_files = ["heisenbridge.yaml"]'):
        assert f"    {line}\n" in text
    assert f"    heisenbridge -c {REGISTRATION} http://127.0.0.1:8008\n" in text
    assert all(word in text for word in ("ADDNETWORK", "ADDSERVER", "OPEN", "NICK alice", "CONNECT", "JOIN"))


async def connected(alice: Person, irc_port: int) -> tuple[str, str]:
    """Alice talks to the bridge until she is on IRC: the rooms of the network and of #kitchen."""
    made = await alice.client.post("v3/createRoom", {"invite": [BOT], "is_direct": True, "preset": "private_chat"})
    control = made.ok()["room_id"]
    await alice.joined_by(control, BOT)
    await alice.say(control, "ADDNETWORK home")
    await alice.told(control, "Network added", BOT)
    await alice.say(control, f"ADDSERVER home 127.0.0.1 {irc_port}")
    await alice.told(control, "Server added", BOT)
    await alice.say(control, "OPEN home")
    # The bridge may open a control room of its own beside the one that she made.
    network = await alice.invited(BOT, name="home")
    await alice.joined_by(network, alice.client.user_id)
    await alice.say(network, "NICK alice")
    await alice.told(network, "Nickname set to alice", BOT)
    await alice.say(network, "CONNECT")
    await alice.told(network, "Welcome to the Internet Relay Network")
    await alice.say(network, "JOIN #kitchen")
    kitchen = await alice.invited(BOT, name="#kitchen")
    await alice.joined_by(kitchen, alice.client.user_id)
    return network, kitchen


async def test_matrix_and_irc_talk_to_each_other(tmp_path: Path) -> None:
    port = free_port()
    config = await configured(tmp_path, port)
    async with (
        running_ngircd(tmp_path) as irc_port,
        running_homeserver(config) as server,
        irc_client(irc_port, "bob", "#kitchen") as bob,
        person(server, "alice") as alice,
    ):
        ghost = "@irc_home_bob:localhost"
        async with running_bridge(tmp_path, server, port):
            _, kitchen = await connected(alice, irc_port)
            await bob.until(lambda line: line.startswith(":alice!") and " JOIN " in line)

            await alice.say(kitchen, "the kettle is on")
            await bob.said("alice", "#kitchen", "the kettle is on")

            bob.send("PRIVMSG #kitchen :on my way")
            event = await alice.told(kitchen, "on my way", ghost)
            assert event["content"]["msgtype"] == "m.text"
            assert (await alice.joined_by(kitchen, ghost))["content"]["displayname"] == "bob"
            bob.send("PRIVMSG #kitchen :\x01ACTION puts the cups out\x01")
            event = await alice.told(kitchen, "puts the cups out", ghost)
            assert event["content"]["msgtype"] == "m.emote"

            bob.send("PRIVMSG alice :between us")
            private = await alice.invited(BOT, name="bob")
            await alice.told(private, "between us", ghost)
            await alice.say(private, "of course")
            await bob.said("alice", "bob", "of course")
        await bob.until(lambda line: line.startswith(":alice!") and " QUIT " in line)
        bob.lines.clear()

        # The bridge was away: it finds its rooms and its configuration, which it keeps in account data, again.
        async with running_bridge(tmp_path, server, port):
            await bob.until(lambda line: line.startswith(":alice!") and " JOIN " in line)
            await alice.say(kitchen, "still there?")
            await bob.said("alice", "#kitchen", "still there?")
            bob.send("PRIVMSG #kitchen :always")
            await alice.told(kitchen, "always", ghost)
        said = [event["content"] for _, event in alice.seen if event["sender"] == ghost]
        texts = [content["body"] for content in said if "body" in content]
        assert texts == ["on my way", "puts the cups out", "between us", "always"]
