"""/pushrules: reading a user's push rules, switching and changing them, adding and removing own ones.

Source: client-server API, "Push Rules: API".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.accounts.account_data import PUSH_RULES
from thingroom_homeserver.accounts.outcomes import Refused
from thingroom_homeserver.accounts.push_rules import (
    KINDS,
    Place,
    added,
    default_push_rules,
    find_rule,
    removed,
    rule_of,
    with_actions,
    with_enabled,
)
from thingroom_homeserver.client_api.checks import granted
from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError

if TYPE_CHECKING:
    from collections.abc import Callable

    from thingroom_homeserver.services import Services

JsonObject = dict[str, Any]


async def get_all(request: Request, services: Services) -> JsonObject:
    return _rules_of(request, services)


async def get_global(request: Request, services: Services) -> JsonObject:
    return {**_rules_of(request, services)["global"]}


async def get_rule(request: Request, services: Services) -> JsonObject:
    return _rule_in_path(request, services)


async def put_rule(request: Request, services: Services) -> JsonObject:
    rule = granted(rule_of(request.path["kind"], request.path["ruleId"], request.body))
    place = Place(request.query.get("before"), request.query.get("after"))
    await _change(request, services, lambda rules: added(rules, request.path["kind"], rule, place))
    return {}


async def delete_rule(request: Request, services: Services) -> JsonObject:
    await _change(request, services, lambda rules: removed(rules, request.path["kind"], request.path["ruleId"]))
    return {}


async def get_enabled(request: Request, services: Services) -> JsonObject:
    return {"enabled": _rule_in_path(request, services)["enabled"]}


async def put_enabled(request: Request, services: Services) -> JsonObject:
    enabled, path = request.body_field("enabled", bool), request.path
    await _change(request, services, lambda rules: with_enabled(rules, path["kind"], path["ruleId"], enabled))
    return {}


async def get_actions(request: Request, services: Services) -> JsonObject:
    return {"actions": _rule_in_path(request, services)["actions"]}


async def put_actions(request: Request, services: Services) -> JsonObject:
    actions, path = request.body_field("actions", list), request.path
    await _change(request, services, lambda rules: with_actions(rules, path["kind"], path["ruleId"], actions))
    return {}


def _rules_of(request: Request, services: Services) -> JsonObject:
    user_id = request.requester.user_id
    return services.account_data.read(user_id, PUSH_RULES) or default_push_rules(user_id)


def _rule_in_path(request: Request, services: Services) -> JsonObject:
    rule = find_rule(_rules_of(request, services), request.path["kind"], request.path["ruleId"])
    if rule is None:
        raise MatrixError(404, "M_NOT_FOUND", "There is no such push rule")
    return rule


async def _change(request: Request, services: Services, change: Callable[[JsonObject], JsonObject | Refused]) -> None:
    if request.path["kind"] not in KINDS:
        raise MatrixError(400, "M_INVALID_PARAM", f"The kind of a rule is one of {', '.join(KINDS)}")
    user_id = request.requester.user_id
    refused: list[Refused] = []

    def write(content: JsonObject) -> JsonObject | None:
        outcome = change(content or default_push_rules(user_id))
        if isinstance(outcome, Refused):
            refused.append(outcome)
            return None
        return outcome

    await services.account_data.change(user_id, PUSH_RULES, write)
    if refused:
        granted(refused[0])


RULE = "pushrules/global/{kind}/{ruleId}"
ENDPOINTS = (
    Endpoint("GET", (*client_path("pushrules/"), *client_path("pushrules")), get_all),
    Endpoint("GET", (*client_path("pushrules/global/"), *client_path("pushrules/global")), get_global),
    Endpoint("GET", client_path(RULE), get_rule),
    Endpoint("PUT", client_path(RULE), put_rule),
    Endpoint("DELETE", client_path(RULE), delete_rule),
    Endpoint("GET", client_path(f"{RULE}/enabled"), get_enabled),
    Endpoint("PUT", client_path(f"{RULE}/enabled"), put_enabled),
    Endpoint("GET", client_path(f"{RULE}/actions"), get_actions),
    Endpoint("PUT", client_path(f"{RULE}/actions"), put_actions),
)
