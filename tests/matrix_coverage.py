"""`python -m tests.matrix_coverage` rewrites docs/matrix_coverage.md: each endpoint of the specification, done or not.

What is done is read from the server's own table of endpoints (and, for what the homeserver asks of others, from its
source). The reasons in the file are kept; an endpoint that is new gets the reason below. Needs the specification;
tests/homeserver/test_matrix_coverage.py holds the file to the server with it and without it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.specification import REPOSITORY, Operation, Specification, specification

from thingroom_homeserver.http.endpoint import Endpoint
from thingroom_homeserver.server import ENDPOINTS as CLIENT_ENDPOINTS
from thingroom_homeserver.server import FEDERATION_ENDPOINTS

DOCUMENT = REPOSITORY / "docs" / "matrix_coverage.md"
SOURCES = REPOSITORY / "homeserver" / "thingroom_homeserver"
TITLES = {
    "client-server": "Client-Server API",
    "server-server": "Server-Server API",
    "application-service": "Application Service API (what the homeserver asks of an application service)",
    "push-gateway": "Push Gateway API (what the homeserver asks of a push gateway)",
}
OWN = "Beyond the specification"
ENDPOINTS: tuple[Endpoint, ...] = (
    *CLIENT_ENDPOINTS,
    *(endpoint for endpoint in FEDERATION_ENDPOINTS if endpoint not in CLIENT_ENDPOINTS),
)
"""Everything that is answered, at whatever listener."""
DONE = "done"
NOT_YET = "not yet"
UNEXPLAINED = "?"
REASONS = {
    "admin": "locking, suspending and whois are not built",
    "administrative_contact": "email addresses and telephone numbers are not built",
    "appservice_room_directory": "lists of third-party networks are not built",
    "authed-content-repo": "the media repository is not built",
    "content-repo": "the media repository is not built",
    "cross_signing": "cross-signing is not built",
    "key_backup": "key backup is not built",
    "keys": "device list changes are not built",
    "login_token": "login by token is not built",
    "mutual_rooms": "not built",
    "notifications": "the list of notifications is not built",
    "oauth_server_metadata": "password login only",
    "old_sync": "deprecated; clients use /sync",
    "openid": "OpenID tokens are not built",
    "password_management": "email addresses and telephone numbers are not built",
    "peeking_events": "deprecated; clients use /sync",
    "policy_server": "this server is no policy server",
    "content_repository": "media over federation is not built",
    "query": "no kinds but directory and profile, which have endpoints of their own",
    "public_rooms": "room directories over federation are not built",
    "room_policy": "this server is no policy server",
    "push_notifier": "HTTP pushers are not built",
    "pusher": "HTTP pushers are not built",
    "protocols": "third-party lookups are not built",
    "refresh": "refresh tokens are not built",
    "registration": "email addresses and telephone numbers are not built",
    "registration_tokens": "registration tokens are not built",
    "report_content": "reports are not built",
    "room_initial_sync": "deprecated; clients use /sync",
    "room_upgrades": "upgrades are not built",
    "rooms": "deprecated; clients use /sync",
    "search": "search is not built",
    "space_hierarchy": "the hierarchy of spaces is not built",
    "sso_login_redirect": "login over CAS or SSO is not built",
    "support": "support contacts cannot be configured",
    "third_party_lookup": "third-party lookups are not built",
    "threads_list": "the list of threads is not built",
    "to_device": "to-device messages are not built",
}
"""Why an endpoint that the document does not explain yet is missing, by the specification's file that describes it."""
REMARKS = {
    "/msisdn/requestToken": "always M_THREEPID_MEDIUM_NOT_SUPPORTED: the server knows no telephone numbers",
    "/v1/auth_metadata": "always 404 M_UNRECOGNIZED: passwords and tokens, no OAuth 2.0",
    "/admin/whois/{userId}": "for administrators and oneself",
    ".well-known/matrix/policy_server": "publishes `policy_server_key`; the server is no policy server itself",
    "/account/3pid/bind": "at any identity server, or those of `identity_servers`",
    "/v3/createRoom": "the room stands where another server does not take an invite: its members show who was invited",
    "/v3/initialSync": "deprecated",
    "/send/{eventType}/{txnId}": "content nests at most 119 levels, so that it fits into what servers send each other",
}
"""What there is to say of endpoints that are answered, by the end of their paths."""
ROW = re.compile(r"\| ([A-Z]+) \| `([^`]+)` \| (done|not yet) \| (.*?) ?\|")
PARAMETER = re.compile(r"\{[^}]*\}")
HEAD = """\
# What of Matrix v1.19 the homeserver does

Each endpoint of the specification with what became of it. `python -m tests.matrix_coverage` rewrites the tables and
keeps the reasons; the tests compare them with the server's own list and with the specification, so they stay true.
"Also" names the other versions of the path that older clients speak.
"""


@dataclass(frozen=True)
class Row:
    """One endpoint in the document."""

    method: str
    path: str
    state: str
    note: str

    def text(self) -> str:
        return f"| {self.method} | `{self.path}` | {self.state} | {self.note} |"


def read_rows(text: str) -> list[Row]:
    return [Row(*match.groups()) for match in map(ROW.fullmatch, text.splitlines()) if match]


def plain(path: str) -> str:
    """The path whatever its parameters are called."""
    return PARAMETER.sub("{}", path).rstrip("/") or "/"


def served(endpoints: Iterable[Endpoint]) -> dict[tuple[str, str], Endpoint]:
    return {(endpoint.method, plain(path)): endpoint for endpoint in endpoints for path in endpoint.paths}


def asked() -> str:
    """The homeserver's source, in which the paths stand that it asks for."""
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(SOURCES.rglob("*.py")))


def document(spec: Specification, endpoints: Iterable[Endpoint], old: str) -> str:
    """The whole file."""
    endpoints = tuple(endpoints)
    reasons = {(row.method, row.path): row.note for row in read_rows(old) if row.state == NOT_YET}
    table, source = served(endpoints), asked()
    by_api: dict[str, list[Row]] = {api: [] for api in TITLES}
    named: set[Endpoint] = set()
    for operation in sorted(spec.operations, key=lambda operation: (operation.path, operation.method)):
        endpoint = table.get((operation.method, plain(operation.path)))
        if endpoint is not None:
            named.add(endpoint)
        by_api[operation.api].append(_row(operation, endpoint, source, reasons))
    parts = [HEAD]
    for api, rows in by_api.items():
        done = sum(row.state == DONE for row in rows)
        parts.append(f"## {TITLES[api]}\n\n{done} of {len(rows)} done.\n\n{_table(rows)}")
    own = [
        Row(endpoint.method, endpoint.paths[0], DONE, _also(endpoint, endpoint.paths[0]))
        for endpoint in endpoints
        if endpoint not in named
    ]
    parts.append(f"## {OWN}\n\n{_table(sorted(own, key=lambda row: (row.path, row.method)))}")
    return "\n".join(parts)


def _row(operation: Operation, endpoint: Endpoint | None, source: str, reasons: Mapping[tuple[str, str], str]) -> Row:
    method, path = operation.method, operation.path
    if endpoint is not None:
        return Row(method, path, DONE, _also(endpoint, path))
    if operation.api not in ("client-server", "server-server") and path.partition("{")[0] in source:
        return Row(method, path, DONE, "")
    return Row(
        method, path, NOT_YET, reasons.get((method, path), REASONS.get(Path(operation.document).stem, UNEXPLAINED))
    )


def _also(endpoint: Endpoint, path: str) -> str:
    remarks = [remark for end, remark in REMARKS.items() if path.endswith(end)]
    others = [f"`{other}`" for other in endpoint.paths if plain(other) != plain(path)]
    return "; ".join([*remarks, *([f"also {', '.join(others)}"] if others else [])])


def _table(rows: Iterable[Row]) -> str:
    return "\n".join(
        ["| method | path | state | note |", "| --- | --- | --- | --- |", *(row.text() for row in rows), ""]
    )


def main() -> int:
    spec = specification()
    if spec is None:
        print("The specification is not there; THINGROOM_SPEC can name its data folder.", file=sys.stderr)
        return 2
    path = Path(DOCUMENT)
    path.write_text(document(spec, ENDPOINTS, path.read_text(encoding="utf-8") if path.exists() else ""), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
