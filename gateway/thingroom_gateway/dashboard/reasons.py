"""Why messages are rejected, in words. Pure; imports the standard library only."""

from __future__ import annotations

from typing import Final

_WORDS: Final = {
    "above_range": "a value above what the sensor can measure",
    "bad_request": "a page was asked for something that makes no sense",
    "bad_signature": "the signature is not the device's",
    "bad_status": "a word on presence that makes no sense",
    "bad_tag": "not made with the key that both sides share",
    "bad_text": "a text that is too long or not printable",
    "bad_topic": "a topic that makes no sense",
    "below_range": "a value below what the sensor can measure",
    "malformed": "not understood",
    "no_records": "no values in it",
    "no_such_page": "a page that is not there, or not for whoever asked",
    "not_allowed": "somebody asked for what they may not",
    "not_signed_in": "somebody was not signed in",
    "not_stored": "the disk did not take it",
    "other_shard": "of a device that another gateway looks after",
    "pairing_closed": "a device wanted to be paired, and pairing was not open",
    "revoked_device": "of a device that is revoked",
    "sign_in": "signing in failed",
    "time_out_of_range": "a time before 1970 or after 9999",
    "too_large": "too large",
    "too_large_for_an_event": "too large for a message in a room",
    "too_many": "too many at once",
    "too_many_tries": "too many tries to sign in",
    "too_often": "too many live pages",
    "too_many_records": "too many values in it",
    "truncated": "cut off",
    "unknown_device": "of a device that is not paired",
    "unknown_quantity": "a value that the device's profile does not know",
    "unknown_topic": "a topic that is none of ours",
    "wrong_method": "a page was asked in a way that it does not know",
    "wrong_kind_of_value": "a value of the wrong kind",
    "wrong_pairing_code": "paired with a wrong code",
    "wrong_unit": "a value in another unit than the profile says",
}
DOORS: Final = {"mqtt": "MQTT", "coap": "CoAP", "serial": "serial line", "plain": "plain MQTT"}


def in_words(reason: str) -> str:
    """`reason` (snake_case) for people."""
    return _WORDS.get(reason) or reason.replace("_", " ").replace(".", ": ")


def door_of(transport: str) -> str:
    """The name of a transport for people."""
    return DOORS.get(transport, transport)
