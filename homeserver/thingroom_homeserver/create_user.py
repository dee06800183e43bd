"""Making an account from outside the server: through its shared secret, or in its database.

May import accounts, storage and aiohttp. Used by cli.py. The database may be written to while the server runs: SQLite
keeps the two writers apart, and the server looks accounts up on disk.
"""

from __future__ import annotations

from dataclasses import dataclass

import aiohttp

from thingroom_homeserver.accounts.outcomes import Refusal, Refused
from thingroom_homeserver.client_api.admin_register import PATH, registration_mac
from thingroom_homeserver.config import HomeserverConfig, local_url
from thingroom_homeserver.offline_accounts import offline_accounts

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
    async with offline_accounts(config) as offline:
        made = await offline.accounts.create_account(name, password, is_admin=is_admin)
        path = offline.database.path
    return made if isinstance(made, Refused) else Made(made, f"in the database {path}")
