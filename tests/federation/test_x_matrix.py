"""The Authorization header of signed requests: the grammar of RFC 9110, and what a signature covers."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thingroom_homeserver.core.canonical_json import encode_canonical_json
from thingroom_homeserver.core.signing import SigningKey, decode_base64, sign_json, verify_bytes
from thingroom_homeserver.federation.x_matrix import Credentials, authorization, parse_authorization, signed_bytes

GOOD = Credentials("origin.example:8448", "[::1]:443", "ed25519:a_1", "AbC/+d")
TOKENS = st.text(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~", min_size=1, max_size=40)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x2FF, exclude_characters="\x7f"), max_size=40)
WHITE = st.text(" \t", max_size=3)


@pytest.mark.parametrize(
    "header",
    [
        'X-Matrix origin="origin.example:8448",destination="[::1]:443",key="ed25519:a_1",sig="AbC/+d"',
        'x-matrix   sig="AbC/+d" \t,\t key=ed25519:a_1, ORIGIN=origin.example:8448,Destination="[::1]:443"',
        'X-Matrix origin="o\\rigin.example:8448",destination="[::1]:443",key="ed25519:a_1",sig=AbC/+d,new="a,b=\\"c"',
        'X-Matrix origin = "origin.example:8448" , destination= "[::1]:443",,key ="ed25519:a_1",sig="AbC/+d",',
    ],
)
def test_forms_that_mean_the_same(header: str) -> None:
    assert parse_authorization(header) == GOOD


def test_a_header_without_destination_is_of_an_older_server() -> None:
    assert parse_authorization("X-Matrix origin=a,key=ed25519:k,sig=s") == Credentials("a", None, "ed25519:k", "s")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "X-Matrix",
        "X-Matrix ",
        "Bearer abc",
        "X-Matrixorigin=a,key=b,sig=c",
        "X-Matrix origin=a,key=b",
        "X-Matrix origin=a,key=b,sig=",
        'X-Matrix origin="a,key=b,sig=c',
        'X-Matrix origin="a"key=b,sig=c',
        'X-Matrix origin="a\x00",key=b,sig=c',
        "X-Matrix origin=a,origin=x,key=b,sig=c",
        "X-Matrix origin=a;key=b;sig=c",
        "X-Matrix =a,key=b,sig=c",
        "X-Matrix origin=a,key=b,sig=c,x=" + "y" * 5000,
        "X-Matrix origin=a,key=b,sig=c," + ",".join(f"p{n}=1" for n in range(30)),
    ],
)
def test_what_is_not_a_header_is_refused(header: str) -> None:
    assert parse_authorization(header) is None


@given(st.text(max_size=300) | st.text(max_size=200).map(lambda text: "X-Matrix " + text))
def test_any_text_is_read_or_refused(header: str) -> None:
    assert isinstance(parse_authorization(header), Credentials | None)


@given(
    st.tuples(VALUES, VALUES, VALUES, VALUES),
    st.permutations(("origin", "destination", "key", "sig")),
    st.lists(st.tuples(WHITE, WHITE), min_size=4, max_size=4),
    st.lists(st.booleans(), min_size=4, max_size=4),
)
def test_every_spelling_of_the_grammar_is_understood(
    values: tuple[str, str, str, str], order: list[str], white: list[tuple[str, str]], upper: list[bool]
) -> None:
    by_name = dict(zip(("origin", "destination", "key", "sig"), values, strict=True))
    parts = []
    for name, shout in zip(order, upper, strict=True):
        quoted = by_name[name].replace("\\", "\\\\").replace('"', '\\"')
        parts.append(f'{name.upper() if shout else name}="{quoted}"')
    header = "X-Matrix " + parts[0]
    for part, (before, after) in zip(parts[1:], white, strict=False):
        header += f"{before},{after}{part}"
    assert parse_authorization(header) == Credentials(*values)


@given(st.tuples(TOKENS, TOKENS, TOKENS, TOKENS))
def test_tokens_need_no_quotes(values: tuple[str, str, str, str]) -> None:
    header = "X-Matrix origin={},destination={},key={},sig={}".format(*values)
    assert parse_authorization(header) == Credentials(*values)


def test_what_is_sent_is_in_the_form_for_servers_of_every_age() -> None:
    header = authorization(GOOD)
    assert header == 'X-Matrix origin="origin.example:8448",destination="[::1]:443",key="ed25519:a_1",sig="AbC/+d"'
    assert parse_authorization(header) == GOOD


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
        st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | st.none(),
        max_size=4,
    )
    | st.none()
)
def test_the_bytes_are_those_of_the_signed_object(content: dict[str, object] | None) -> None:
    key = SigningKey.from_seed("ed25519:a_1", bytes(32))
    request = {"method": "PUT", "uri": "/a?b=%20", "origin": "a.test", "destination": "b.test"}
    if content is not None:
        request |= {"content": content}  # type: ignore[dict-item]
    signature = decode_base64(sign_json(request, "a.test", key)["signatures"]["a.test"]["ed25519:a_1"])
    body = None if content is None else encode_canonical_json(content, strict=False)
    covered = signed_bytes("PUT", "/a?b=%20", "a.test", "b.test", body)
    assert signature is not None and verify_bytes(covered, signature, key.public_key)
