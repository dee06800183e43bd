"""The endpoints of signing in, addresses, and what administrators do with accounts, in one list.

May import the endpoint files beside it; server.py reads it.
"""

from __future__ import annotations

from thingroom_homeserver.client_api import (
    admin_accounts,
    auth_fallback,
    email_tokens,
    login_fallback,
    login_token,
    oauth_metadata,
    openid,
    refresh,
    single_sign_on,
    third_party_ids,
)
from thingroom_homeserver.http.endpoint import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (
    *refresh.ENDPOINTS,
    *login_token.ENDPOINTS,
    *single_sign_on.ENDPOINTS,
    *auth_fallback.ENDPOINTS,
    *login_fallback.ENDPOINTS,
    *email_tokens.ENDPOINTS,
    *third_party_ids.ENDPOINTS,
    *openid.ENDPOINTS,
    *oauth_metadata.ENDPOINTS,
    *admin_accounts.ENDPOINTS,
)
