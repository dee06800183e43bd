"""The endpoints of accounts, profiles, directory and ephemeral things, in one list.

May import the endpoint files beside it; server.py reads it.
"""

from __future__ import annotations

from thingroom_homeserver.client_api import (
    account,
    account_data,
    admin_register,
    appservice_room_list,
    capabilities,
    devices,
    directory,
    filters,
    login,
    logout,
    presence,
    profile,
    push_rules,
    receipts,
    register,
    room_visibility,
    small_answers,
    tags,
    third_party,
    typing,
    user_directory,
    versions,
    well_known,
    whoami,
)
from thingroom_homeserver.http.endpoint import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (
    *versions.ENDPOINTS,
    *well_known.ENDPOINTS,
    *capabilities.ENDPOINTS,
    *login.ENDPOINTS,
    *logout.ENDPOINTS,
    *register.ENDPOINTS,
    *admin_register.ENDPOINTS,
    *whoami.ENDPOINTS,
    *devices.ENDPOINTS,
    *account.ENDPOINTS,
    *profile.ENDPOINTS,
    *user_directory.ENDPOINTS,
    *directory.ENDPOINTS,
    *room_visibility.ENDPOINTS,
    *appservice_room_list.ENDPOINTS,
    *account_data.ENDPOINTS,
    *tags.ENDPOINTS,
    *filters.ENDPOINTS,
    *push_rules.ENDPOINTS,
    *typing.ENDPOINTS,
    *receipts.ENDPOINTS,
    *presence.ENDPOINTS,
    *third_party.ENDPOINTS,
    *small_answers.ENDPOINTS,
)
