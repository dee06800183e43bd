"""The accounts of a data directory without a server: what the commands work on, while a server runs or not.

May import accounts and storage. SQLite keeps two writers apart; the server looks accounts up on disk, and hears of
everything else through the table `outside_changes` within a second (accounts/standing.py).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from pathlib import Path

from thingroom_common.config_file import ConfigError
from thingroom_common.database import Database, SchemaTooNew
from thingroom_homeserver.accounts.account_data import AccountData
from thingroom_homeserver.accounts.accounts import Accounts
from thingroom_homeserver.accounts.appservices import load_appservices
from thingroom_homeserver.accounts.passwords import Passwords
from thingroom_homeserver.accounts.registration_tokens import RegistrationTokens
from thingroom_homeserver.accounts.standing import Standing
from thingroom_homeserver.clock import SystemClock
from thingroom_homeserver.config import HomeserverConfig
from thingroom_homeserver.encryption.device_lists import DeviceLists
from thingroom_homeserver.notifier import Notifier
from thingroom_homeserver.rooms.occupancy import Occupancy
from thingroom_homeserver.server import DATABASE_NAME
from thingroom_homeserver.storage.schema import MIGRATIONS


@dataclass(frozen=True)
class OfflineAccounts:
    """What a command may call."""

    database: Database
    accounts: Accounts
    standing: Standing
    registration_tokens: RegistrationTokens


@contextlib.asynccontextmanager
async def offline_accounts(config: HomeserverConfig) -> AsyncIterator[OfflineAccounts]:
    """Open the database of the configuration. Raises ConfigError."""
    path = Path(config.data_directory) / DATABASE_NAME
    appservices = load_appservices(config.appservice_files, config.server_name)
    if not path.parent.is_dir():
        raise ConfigError(f"The data directory {path.parent} does not exist: start the server once, or make it.")
    try:
        database = await Database.open(path, MIGRATIONS)
    except (OSError, sqlite3.Error, SchemaTooNew) as error:
        raise ConfigError(f"{path} cannot be opened: {error}.") from None
    try:
        sessions, clock = _NoSessions(), SystemClock()
        nobody = Notifier(lambda _: (), 0)
        unwatched, device_lists = AccountData(database, nobody), DeviceLists(Occupancy(()), nobody)
        passwords = Passwords(config.password_cost)
        accounts = Accounts(
            database, config.server_name, clock, passwords, appservices, unwatched, sessions, device_lists
        )
        yield OfflineAccounts(database, accounts, Standing(database, sessions), RegistrationTokens(database, clock))
    finally:
        await database.close()


class _NoSessions:
    """There are no sessions in this process to end."""

    def forget_devices(self, user_id: str, device_ids: Collection[str]) -> None:
        pass

    def forget_user(self, user_id: str) -> None:
        pass
