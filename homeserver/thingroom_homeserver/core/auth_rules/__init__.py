"""The authorisation rules of all room versions, as pure functions that answer with a Verdict.

Imports the rest of core. Read checks.py first: its `check_auth` is the list of rules.
"""

from thingroom_homeserver.core.auth_rules.checks import check_auth, may_redact
from thingroom_homeserver.core.auth_rules.selection import (
    StateKey,
    auth_types,
    auth_types_for_event,
    check_auth_events_list,
)
from thingroom_homeserver.core.auth_rules.verdict import ALLOWED, Allowed, Rejected, Verdict

__all__ = [
    "ALLOWED",
    "Allowed",
    "Rejected",
    "StateKey",
    "Verdict",
    "auth_types",
    "auth_types_for_event",
    "check_auth",
    "check_auth_events_list",
    "may_redact",
]
