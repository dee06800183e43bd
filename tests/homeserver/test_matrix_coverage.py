"""docs/matrix_coverage.md says what the server does, no more and no less."""

from __future__ import annotations

from tests.matrix_coverage import DOCUMENT, DONE, ENDPOINTS, UNEXPLAINED, document, plain, read_rows, served
from tests.specification import specification

REWRITE = "run: python -m tests.matrix_coverage"
ASKED_OF_OTHERS = ("/_matrix/app/", "/_matrix/push/")


def test_what_is_called_done_is_served_and_what_is_served_is_called_done() -> None:
    rows = [row for row in read_rows(DOCUMENT.read_text()) if not row.path.startswith(ASKED_OF_OTHERS)]
    assert len(rows) > 100
    table = served(ENDPOINTS)
    for row in rows:
        assert ((row.method, plain(row.path)) in table) == (row.state == DONE), f"{row}: {REWRITE}"
    named = {(row.method, plain(row.path)) for row in rows}
    for endpoint in ENDPOINTS:
        assert any((endpoint.method, plain(path)) in named for path in endpoint.paths), f"{endpoint.paths}: {REWRITE}"


def test_what_is_not_done_says_why() -> None:
    for row in read_rows(DOCUMENT.read_text()):
        assert row.state == DONE or row.note not in ("", UNEXPLAINED), row


def test_the_document_names_each_endpoint_of_the_specification() -> None:
    spec = specification()
    if spec is not None:
        text = DOCUMENT.read_text()
        assert document(spec, ENDPOINTS, text) == text, REWRITE
