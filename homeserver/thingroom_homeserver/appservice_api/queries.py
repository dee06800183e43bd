"""Asking application services to make a user or a room that somebody refers to.

May import accounts. Source: application service API, "Querying". Endpoints call it where an alias or a user is unknown.
"""

from __future__ import annotations

import asyncio

from thingroom_homeserver.accounts.accounts import Accounts
from thingroom_homeserver.accounts.appservices import AppServices
from thingroom_homeserver.accounts.directory import Directory
from thingroom_homeserver.appservice_api.http_client import Answered, AppServiceClient, NoAnswer

TRIES = 3
PAUSE_SECONDS = 0.5
ANSWER_WITHIN_SECONDS = 10.0


class Queries:
    """Users and aliases, with the application services' help."""

    def __init__(
        self, appservices: AppServices, client: AppServiceClient, accounts: Accounts, directory: Directory
    ) -> None:
        self._appservices = appservices
        self._client = client
        self._accounts = accounts
        self._directory = directory

    async def resolve_alias(self, alias: str) -> str | NoAnswer | None:
        """The room of a local alias. An unknown one in a namespace may be made by its application service now.

        NoAnswer: there is none, and whose it would be does not answer, which is not to say that it is nobody's.
        """
        room_id = self._directory.resolve(alias)
        if room_id is not None:
            return room_id
        silent: NoAnswer | None = None
        for appservice in self._appservices:
            if appservice.url is not None and appservice.aliases.covers(alias):
                for attempt in range(TRIES):
                    answer = await self._client.query_alias(appservice, alias, ANSWER_WITHIN_SECONDS)
                    if not await _try_again(answer, attempt):
                        break
                room_id = self._directory.resolve(alias)
                if room_id is not None:
                    return room_id
                silent = answer if isinstance(answer, NoAnswer) else silent
        return silent

    async def user_exists(self, user_id: str) -> bool:
        """Whether a local user has an account. An unknown one in a namespace may be made now."""
        if self._accounts.exists(user_id):
            return True
        for appservice in self._appservices:
            if appservice.url is not None and appservice.covers_user(user_id):
                for attempt in range(TRIES):
                    answer = await self._client.query_user(appservice, user_id, ANSWER_WITHIN_SECONDS)
                    if not await _try_again(answer, attempt):
                        break
                if self._accounts.exists(user_id):
                    return True
        return False


async def _try_again(answer: Answered | NoAnswer, attempt: int) -> bool:
    """Whether another try is due; waits before it."""
    if isinstance(answer, Answered) and answer.status < 500:
        return False
    if attempt + 1 < TRIES:
        await asyncio.sleep(PAUSE_SECONDS)
    return True
