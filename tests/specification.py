"""The Matrix specification's OpenAPI documents and event schemas, as something that answers can be held against.

They lie in ../shared/matrix-spec/data beside the repository, or where THINGROOM_SPEC says. Without them there is
nothing to check and `specification()` is None. Used by tests/homeserver/running.py (every answer of the test-suite)
and tests/matrix_coverage.py (the list of endpoints).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import yaml
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError, best_match
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from thingroom_homeserver.http.routes import Found, Routes

REPOSITORY = Path(__file__).parents[1]
APIS = ("client-server", "server-server", "application-service", "push-gateway")
BASE = "https://specification.invalid/"
METHODS = frozenset({"get", "put", "post", "delete", "patch", "head"})
VERSION_SEGMENT = 3  # of "/_matrix/client/v3/sync".split("/")
ERROR_SCHEMA = f"{BASE}api/client-server/definitions/errors/error.yaml"
ALLOWED: tuple[tuple[str, Any], ...] = (
    # Without a TURN server there is nothing to give; clients expect an empty object, as other homeservers answer.
    ("/_matrix/client/v3/voip/turnServer", {}),
)
"""Answers that the documents do not foresee, with the reason."""

FORMATS = FormatChecker(formats=())
for _name, _start in (
    ("mx-user-id", "@"),
    ("mx-event-id", "$"),
    ("mx-room-id", "!"),
    ("mx-room-alias", "#"),
    ("mx-mxc-uri", "mxc://"),
):
    FORMATS.checks(_name)(lambda value, start=_start: not isinstance(value, str) or value.startswith(start))


class Violation(AssertionError):
    """An answer that the specification does not allow."""


@dataclass(frozen=True)
class Operation:
    """One operation of an OpenAPI document: `path` is the full one, with the version that the document gives it."""

    api: str
    method: str
    path: str
    summary: str
    deprecated: bool
    responses: dict[str, Any]
    request: dict[str, Any]
    document: str


def folder() -> Path | None:
    """Where the specification's data is; None where it is not."""
    named = os.environ.get("THINGROOM_SPEC")
    path = Path(named) if named else REPOSITORY.parent / "shared" / "matrix-spec" / "data"
    return path if (path / "api" / "client-server").is_dir() else None


@functools.cache
def specification() -> Specification | None:
    """The specification, read once; None where it is not there."""
    data = folder()
    return None if data is None else Specification(data)


def state_in_words() -> str:
    """One line for the head of a test run."""
    data = folder()
    if data is None:
        return (
            "answers are NOT checked against the Matrix specification: "
            "../shared/matrix-spec/data is missing and THINGROOM_SPEC names no other folder"
        )
    return f"answers are checked against the Matrix specification in {data}"


class Specification:
    """Operations by method and path, and compiled validators."""

    def __init__(self, data: Path) -> None:
        loaded = {
            (name := path.relative_to(data).as_posix()): _absolute(
                yaml.load(path.read_bytes(), yaml.CSafeLoader),
                BASE + name,
            )
            for path in sorted(data.rglob("*.yaml"))
        }
        resources = [
            (BASE + name, Resource(contents, DRAFT202012))
            for name, contents in loaded.items()
            if isinstance(contents, dict)
        ]
        self._documents = loaded
        self._registry: Registry[Any] = Registry().with_resources(resources)
        self._validators: dict[tuple[str, str, str, str], Draft202012Validator | None] = {}
        self._event_validators: dict[str, Draft202012Validator | None] = {}
        self._error = self._validator({"$ref": ERROR_SCHEMA})
        self.operations = tuple({(found.method, found.path): found for found in self._read_operations()}.values())
        self._routes: Routes[Operation] = Routes()
        for operation in self.operations:
            if operation.api != "push-gateway":
                self._routes.add(operation.method, operation.path, operation)

    def operation(self, method: str, path: str) -> Operation | None:
        """What `method` on `path` (percent-encoded, without the query) is; any version of a path that is known."""
        segments = path.split("/")
        tries = [path]
        if len(segments) > VERSION_SEGMENT and segments[1] == "_matrix" and segments[2] in ("client", "media"):
            tries += [
                "/".join((*segments[:VERSION_SEGMENT], v, *segments[VERSION_SEGMENT + 1 :])) for v in ("v3", "v1")
            ]
        for candidate in tries:
            try:
                found = self._routes.find(method, candidate)
            except ValueError:
                return None
            if isinstance(found, Found):
                return found.target
        return None

    def check(self, method: str, path: str, status: int, content_type: str, body: Any, *, events: bool = True) -> None:
        """Raises Violation when the specification does not allow this answer. `events`: look at their contents too."""
        operation = self.operation(method, path)
        is_challenge = status == 401 and isinstance(body, dict) and "flows" in body
        if status >= 400 and not is_challenge and content_type.startswith("application/json"):
            self._hold(self._error, body, f"{method} {path} -> {status}")
            if not isinstance(body.get("error"), str):
                raise Violation(f"{method} {path} -> {status}: an error without words: {body}")
        if operation is None or method == "OPTIONS":
            return
        response = operation.responses.get(str(status), operation.responses.get(f"{status // 100}XX"))
        if response is None:
            if status < 400:
                raise Violation(f"{method} {path}: the specification knows no status {status}")
            return
        if status == 401 and not is_challenge:
            return  # where the documents show a challenge, a wrong token is an ordinary error all the same
        if (operation.path, body) in ALLOWED:
            return
        validator = self._content_validator_of(operation, str(status), response)
        if validator is not None:
            if not content_type.startswith("application/json"):
                raise Violation(f"{method} {path} -> {status}: Content-Type is {content_type}")
            self._hold(validator, body, f"{method} {path} -> {status}")
        if status == 200 and events:
            for event in events_in(body):
                self.check_event(event, f"{method} {path}")

    def check_request(self, method: str, path: str, body: Any, *, events: bool = True) -> None:
        """Raises Violation when the specification does not allow what the homeserver asks of another."""
        operation = self.operation(method, path)
        if operation is None:
            raise Violation(f"the specification knows no {method} {path}")
        validator = self._content_validator_of(operation, "request", operation.request)
        if validator is not None:
            self._hold(validator, body, f"{method} {path}")
        for event in events_in(body) if events else ():
            self.check_event(event, f"{method} {path}")

    def check_event(self, event: dict[str, Any], where: str) -> None:
        """Hold the content of an event against its type's schema, unless it was redacted. Raises Violation."""
        kind = event["type"]
        redacted = isinstance(event.get("unsigned"), dict) and "redacted_because" in event["unsigned"]
        if redacted:
            return
        if kind not in self._event_validators:
            self._event_validators[kind] = self._content_validator(kind)
        validator = self._event_validators[kind]
        if validator is not None:
            self._hold(validator, {"type": kind, "content": event["content"]}, f"{where}: the event {kind}")

    def _content_validator(self, kind: str) -> Draft202012Validator | None:
        """Validates {"type", "content"}: what else an event must have depends on where it stands."""
        name = f"event-schemas/schema/{kind}.yaml"
        document = self._documents.get(name)
        if document is None or "content" not in document.get("properties", {}):
            return None
        return self._validator({"properties": {"content": {"$ref": f"{BASE}{name}#/properties/content"}}})

    def _content_validator_of(self, operation: Operation, part: str, response: Any) -> Draft202012Validator | None:
        """For the JSON of an operation's request ("request") or of its response with a status."""
        key = (operation.document, operation.method, operation.path, part)
        if key not in self._validators:
            if "$ref" in response:
                response = self._registry.resolver().lookup(response["$ref"]).contents
            schema = response.get("content", {}).get("application/json", {}).get("schema")
            self._validators[key] = None if schema is None else self._validator(schema)
        return self._validators[key]

    def _validator(self, schema: Any) -> Draft202012Validator:
        return Draft202012Validator(schema, registry=self._registry, format_checker=FORMATS)

    @staticmethod
    def _hold(validator: Draft202012Validator, body: Any, where: str) -> None:
        if validator.is_valid(body):
            return
        error: ValidationError | None = best_match(validator.iter_errors(body))
        assert error is not None
        raise Violation(f"{where}: at {error.json_path}: {error.message[:500]}")

    def _read_operations(self) -> Iterator[Operation]:
        """Two documents may hold one endpoint, told apart by a space behind the path: the plain one comes last."""
        for api in APIS:
            for name, contents in self._documents.items():
                parts = name.split("/")
                if parts[:2] != ["api", api] or len(parts) != 3 or "paths" not in contents:
                    continue
                base = contents["servers"][0]["variables"]["basePath"]["default"]
                for path, methods in sorted(contents["paths"].items(), key=lambda item: not item[0].endswith(" ")):
                    for method, operation in methods.items():
                        if method in METHODS:
                            yield Operation(
                                api,
                                method.upper(),
                                base.rstrip("/") + path.rstrip(),
                                operation.get("summary", ""),
                                bool(operation.get("deprecated")),
                                operation["responses"],
                                operation.get("requestBody", {}),
                                name,
                            )


def _absolute(node: Any, base: str) -> Any:
    """`node` with its references made absolute, so that a schema can be used from anywhere."""
    if isinstance(node, dict):
        return {
            key: urljoin(base, value) if key == "$ref" and isinstance(value, str) else _absolute(value, base)
            for key, value in node.items()
        }
    return [_absolute(item, base) for item in node] if isinstance(node, list) else node


def events_in(body: Any) -> Iterator[dict[str, Any]]:
    """Everything in a response that looks like an event."""
    if isinstance(body, dict):
        if isinstance(body.get("type"), str) and isinstance(body.get("content"), dict):
            yield body
        for value in body.values():
            yield from events_in(value)
    elif isinstance(body, list):
        for value in body:
            yield from events_in(value)
