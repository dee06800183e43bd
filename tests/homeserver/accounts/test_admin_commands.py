"""The commands of `thingroom homeserver admin` for accounts, with and without a running server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from click.testing import CliRunner, Result
from tests.homeserver.accounts.test_starting_and_cli import write_config
from tests.homeserver.running import PASSWORD, RunningHomeserver, escape, running_homeserver
from tests.patience import tries

from thingroom_homeserver.cli import homeserver_commands
from thingroom_homeserver.config import load_config

OPEN = 'registration = "open"'


def run(config: Path, *arguments: str, given: str | None = None) -> Result:
    return CliRunner().invoke(homeserver_commands, ["admin", *arguments, "--config", str(config)], input=given)


def done(config: Path, *arguments: str, given: str | None = None) -> str:
    result = run(config, *arguments, given=given)
    assert result.exit_code == 0, result.output
    return result.output


async def do(config: Path, *arguments: str, given: str | None = None) -> None:
    """The same, while a server runs on this loop; it notices after a moment."""
    await asyncio.to_thread(done, config, *arguments, given=given)


async def noticed(what: Callable[[], Awaitable[bool]]) -> None:
    for _ in tries():
        if await what():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the server did not notice")


def test_tokens_and_accounts_offline(tmp_path: Path) -> None:
    config = write_config(tmp_path, 0)
    made = done(config, "registration-token", "make", "--uses", "2", "--days", "1").strip()
    assert done(config, "registration-token", "make", "--token", "fixed").strip() == "fixed"
    assert run(config, "registration-token", "make", "--token", "fixed").exit_code == 1
    assert run(config, "registration-token", "make", "--token", "a b").exit_code == 1
    listed = done(config, "registration-token", "list")
    assert f"{made}: used 0 of 2, until 20" in listed and "fixed: used 0\n" in listed
    done(config, "registration-token", "revoke", "fixed")
    assert run(config, "registration-token", "revoke", "fixed").exit_code == 1
    done(config, "create-user", "alice", "--admin")
    done(config, "create-user", "bob")
    done(config, "lock", "bob")
    done(config, "suspend", "@bob:localhost")
    assert done(config, "list-users") == "@alice:localhost (administrator)\n@bob:localhost (locked, suspended)\n"
    done(config, "deactivate", "bob", "--yes")
    assert "bob" not in done(config, "list-users")
    assert "@bob:localhost (locked, suspended, deactivated)" in done(config, "list-users", "--deactivated")
    for command in ("lock", "reset-password", "suspend"):
        result = run(config, command, "bob")
        assert result.exit_code == 1 and "There is no account @bob:localhost" in result.output
    assert run(tmp_path / "none.toml", "lock", "alice").exit_code == 2


async def test_a_running_server_notices(tmp_path: Path) -> None:
    path = write_config(tmp_path, 0, OPEN)
    async with running_homeserver(load_config(path)) as server:
        alice, bob = await server.register("alice"), await server.register("bob")
        room = escape((await bob.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"])
        (await alice.post(f"v3/join/{room}")).ok()

        async def is_refused(code: str | None) -> bool:
            return (await alice.post("v3/createRoom")).body.get("errcode") == code

        async def has_left() -> bool:
            return alice.user_id not in (await bob.get(f"v3/rooms/{room}/joined_members")).ok()["joined"]

        await do(path, "lock", "alice")
        await noticed(partial(is_refused, "M_USER_LOCKED"))
        (await alice.get("v3/account/whoami")).is_error(401, "M_USER_LOCKED")
        await do(path, "unlock", "alice")
        await noticed(partial(is_refused, None))
        await do(path, "suspend", "alice")
        await noticed(partial(is_refused, "M_USER_SUSPENDED"))
        await do(path, "unsuspend", "alice")
        await noticed(partial(is_refused, None))
        await do(path, "reset-password", "alice", "--password-stdin", given="another password\n")
        await noticed(partial(is_refused, "M_UNKNOWN_TOKEN"))
        await logs_in(server, "another password", 200)
        await logs_in(server, PASSWORD, 403)
        assert not await has_left()
        await do(path, "deactivate", "alice", "--yes", "--erase")
        await noticed(has_left)


async def test_rooms_are_left_at_the_next_start(tmp_path: Path) -> None:
    path = write_config(tmp_path, 0, OPEN)
    async with running_homeserver(load_config(path)) as server:
        alice, bob = await server.register("alice"), await server.register("bob")
        room = escape((await bob.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"])
        (await alice.post(f"v3/join/{room}")).ok()
    await asyncio.to_thread(done, path, "deactivate", "alice", "--yes")
    async with running_homeserver(load_config(path)) as server:
        bob = server.client(bob.token)
        assert alice.user_id not in (await bob.get(f"v3/rooms/{room}/joined_members")).ok()["joined"]


async def logs_in(server: RunningHomeserver, password: str, status: int) -> None:
    body = {"type": "m.login.password", "user": "alice", "password": password}
    assert (await server.client().post("v3/login", body)).status == status
