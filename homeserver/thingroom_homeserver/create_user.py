"""Making an account from outside the server: through its shared secret, or in its database.

May import accounts, storage and aiohttp. Used by cli.py. The database may be written to while the server runs: SQLite
keeps the two writers apart, and the server looks accounts up on disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from thingroom_common.config_file import ConfigError
from thingroom_common.database import Database, SchemaTooNew
from thingroom_homeserver.accounts.account_data import AccountData
from thingroom_homeserver.accounts.accounts import Accounts
from thingroom_homeserver.accounts.appservices import load_appservices
from thingroom_homeserver.accounts.outcomes import Refusal, Refused
from thingroom_homeserver.accounts.passwords import Passwords
from thingroom_homeserver.client_api.admin_register import PATH, registration_mac
from thingroom_homeserver.clock import SystemClock
from thingroom_homeserver.config import HomeserverConfig, local_url
from thingroom_homeserver.notifier import Notifier
from thingroom_homeserver.server import DATABASE_NAME
from thingroom_homeserver.storage.schema import MIGRATIONS

ANSWER_WITHIN_SECONDS = 10.0


@dataclass(frozen=True)
class Made:
    """An account that was made, and `how` in words."""

    user_id: str
    how: str


async def create_user(config: HomeserverConfig, name: str, password: str, *, is_admin: bool) -> Made | Refused:
    """Make the account, through the running server if it has a shared secret. Raises ConfigError."""
    if config.registration != "off" and config.registration_shared_secret:
        made = await _over_http(config, name, password, is_admin=is_admin)
        if made is not None:
            return made
    return await _in_database(config, name, password, is_admin=is_admin)


async def _over_http(config: HomeserverConfig, name: str, password: str, *, is_admin: bool) -> Made | Refused | None:
    """None if no server answers."""
    url = local_url(config) + PATH
    timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_SECONDS)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as http:
            async with http.get(url) as response:
                nonce = (await response.json())["nonce"]
            mac = registration_mac(config.registration_shared_secret, nonce, name, password, is_admin=is_admin)
            body = {"nonce": nonce, "username": name, "password": password, "admin": is_admin, "mac": mac.decode()}
            async with http.post(url, json=body) as response:
                answer = await response.json()
                if response.status != 200:
                    return Refused(Refusal.FORBIDDEN, f"The server at {url} refuses: {answer.get('error')}")
                return Made(answer["user_id"], f"through the running server at {url}")
    except (aiohttp.ClientError, TimeoutError, KeyError):
        return None


async def _in_database(config: HomeserverConfig, name: str, password: str, *, is_admin: bool) -> Made | Refused:
    path = Path(config.data_directory) / DATABASE_NAME
    appservices = load_appservices(config.appservice_files, config.server_name)
    try:
        database = await Database.open(path, MIGRATIONS)
    except (OSError, sqlite3.Error, SchemaTooNew) as error:
        raise ConfigError(f"{path} cannot be opened: {error}.") from None
    try:
        passwords = Passwords(config.password_cost)
        unwatched = AccountData(database, Notifier(lambda _: (), 0))
        accounts = Accounts(
            database, config.server_name, SystemClock(), passwords, appservices, unwatched, _NoSessions()
        )
        made = await accounts.create_account(name, password, is_admin=is_admin)
    finally:
        await database.close()
    return made if isinstance(made, Refused) else Made(made, f"in the database {path}")


class _NoSessions:
    """There are no sessions in this process to end."""

    def forget_devices(self, user_id: str, device_ids: Collection[str]) -> None:
        pass

    def forget_user(self, user_id: str) -> None:
        pass
