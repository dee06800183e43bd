"""Search terms come from outside: whatever is in them, SQLite understands what is made of them."""

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.searchable import searchable_text
from thingroom_homeserver.rooms.search import MAX_WORDS, words_of
from thingroom_homeserver.storage.schema_relations import RELATIONS
from thingroom_homeserver.storage.search_index import COLUMNS, match_expression

TABLE = RELATIONS.sql[RELATIONS.sql.index("CREATE VIRTUAL TABLE") :].partition(";")[0]


def matches(term: str, text: str) -> bool:
    connection = sqlite3.connect(":memory:")
    connection.execute(TABLE)
    connection.execute("INSERT INTO event_search (rowid, body) VALUES (1, ?)", (text,))
    expression = match_expression(words_of(term), COLUMNS)
    found = connection.execute("SELECT rowid FROM event_search WHERE event_search MATCH ?", (expression,)).fetchall()
    connection.close()
    return bool(found)


hostile = st.text(st.characters(codec="utf-8") | st.sampled_from("\"'*(){}:^+-\\\0 AND OR NOT NEAR"), max_size=60)


@given(hostile)
def test_any_term_can_be_looked_for(term: str) -> None:
    words = words_of(term)
    assert len(words) <= MAX_WORDS
    if words:
        matches(term, "text")


@given(st.lists(st.from_regex(r"[a-zA-Z0-9]{1,8}", fullmatch=True), min_size=1, max_size=6), st.randoms())
def test_all_words_are_found_in_any_order_and_case(words: list[str], chance: object) -> None:
    text = " ".join(words)
    chance.shuffle(words)  # type: ignore[attr-defined]
    assert matches(" ".join(words).upper(), text)
    assert not matches(" ".join([*words, "missingword"]), text)


@pytest.mark.parametrize(("term", "text"), [("cafe", "Café"), ("don't", "I don't"), ("grüße", "GRÜSSE Grüße")])
def test_words_as_people_write_them(term: str, text: str) -> None:
    assert matches(term, text)


@pytest.mark.parametrize(
    ("kind", "state_key", "content", "found"),
    [
        ("m.room.message", None, {"body": "x"}, ("body", "x")),
        ("m.room.message", "", {"body": "x"}, None),
        ("m.room.message", None, {"body": 5}, None),
        ("m.room.name", "", {"name": "x"}, ("name", "x")),
        ("m.room.name", None, {"name": "x"}, None),
        ("m.room.topic", "", {"topic": "x", "m.topic": {"m.text": [{"body": "y"}]}}, ("topic", "x\ny")),
        ("m.room.topic", "", {"topic": "x", "m.topic": {"m.text": [{"body": "x"}]}}, ("topic", "x")),
        ("m.room.topic", "", {"m.topic": {"m.text": [{"mimetype": "text/html", "body": "z"}, 5]}}, None),
        ("m.room.topic", "", {"m.topic": [5]}, None),
        ("m.reaction", None, {"body": "x"}, None),
    ],
)
def test_what_is_indexed(kind: str, state_key: str | None, content: dict, found: tuple[str, str] | None) -> None:
    event = Event("$e", "!r", kind, state_key, "@a:x", content, 0, 1, (), (), None, {}, {}, "12")
    assert searchable_text(event) == found
