"""GET /pushrules: the rules that every user starts with. They cannot be changed yet.

Source: client-server API, "Push Rules: API".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.accounts.push_rules import default_push_rules
from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def get_all(request: Request, services: Services) -> dict[str, Any]:
    return default_push_rules(request.requester.user_id)


async def get_global(request: Request, services: Services) -> dict[str, Any]:
    return {**default_push_rules(request.requester.user_id)["global"]}


async def get_rule(request: Request, services: Services) -> dict[str, Any]:
    return _rule_of(request)


async def get_enabled(request: Request, services: Services) -> dict[str, Any]:
    return {"enabled": _rule_of(request)["enabled"]}


async def get_actions(request: Request, services: Services) -> dict[str, Any]:
    return {"actions": _rule_of(request)["actions"]}


def _rule_of(request: Request) -> dict[str, Any]:
    rules = default_push_rules(request.requester.user_id)["global"].get(request.path["kind"], [])
    for rule in rules:
        if rule["rule_id"] == request.path["ruleId"]:
            return {**rule}
    raise MatrixError(404, "M_NOT_FOUND", "There is no such push rule")


RULE = "pushrules/global/{kind}/{ruleId}"
ENDPOINTS = (
    Endpoint("GET", (*client_path("pushrules/"), *client_path("pushrules")), get_all),
    Endpoint("GET", (*client_path("pushrules/global/"), *client_path("pushrules/global")), get_global),
    Endpoint("GET", client_path(RULE), get_rule),
    Endpoint("GET", client_path(f"{RULE}/enabled"), get_enabled),
    Endpoint("GET", client_path(f"{RULE}/actions"), get_actions),
)
