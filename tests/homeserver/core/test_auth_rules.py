"""The authorisation rules, one case for each number of room version 12 and for what older versions do otherwise.

Agreement with another implementation in all versions: test_synapse_agreement.py.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from tests.synapse_peer.room_generator import ALICE, BOB, CAROL, DAVE, IDENTITY_KEY, Checked, build, new_room

from thingroom_homeserver.core.auth_rules import (
    ALLOWED,
    Allowed,
    Rejected,
    auth_types,
    check_auth,
    check_auth_events_list,
    may_redact,
)
from thingroom_homeserver.core.room_rules import ROOM_RULES
from thingroom_homeserver.core.signing import encode_base64, sign_json

MEMBER, LEVELS, RULES = "m.room.member", "m.room.power_levels", "m.room.join_rules"
NEW = "@new:one.test"


class Story:
    """A room of version 12 unless said otherwise, told step by step. Steps before the last must be allowed."""

    def __init__(self, version: str = "12", **create_content: Any) -> None:
        self.room = new_room(version, 0, **create_content)
        self.last: Checked | None = None
        self.join(ALICE)

    def send(self, event_type: str, sender: str, content: Any = None, **more: Any) -> "Story":
        if self.last is not None:
            assert self.last.allowed, self.last
        self.last = self.room.send(event_type, sender, content or {}, **more)
        return self

    def member(self, sender: str, target: str, membership: Any, **content: Any) -> "Story":
        return self.send(MEMBER, sender, {"membership": membership} | content, state_key=target)

    def join(self, user: str, *, voucher: str | None = None) -> "Story":
        content = {} if voucher is None else {"join_authorised_via_users_server": voucher}
        return self.member(user, user, "join", **content)

    def invite(self, target: str, *, by: str = ALICE, **content: Any) -> "Story":
        return self.member(by, target, "invite", **content)

    def leave(self, target: str, *, by: str | None = None) -> "Story":
        return self.member(by or target, target, "leave")

    def ban(self, target: str, *, by: str = ALICE) -> "Story":
        return self.member(by, target, "ban")

    def knock(self, user: str, *, by: str | None = None) -> "Story":
        return self.member(by or user, user, "knock")

    def rule(self, join_rule: Any) -> "Story":
        return self.send(RULES, ALICE, {"join_rule": join_rule}, state_key="")

    def levels(self, sender: str = ALICE, **content: Any) -> "Story":
        return self.send(LEVELS, sender, content, state_key="")

    def open(self, *users: str, **levels: Any) -> "Story":
        """A public room with these users in it and, if any are given, these power levels."""
        self.rule("public")
        for user in users:
            self.join(user)
        return self.levels(**levels) if levels else self

    def third_party(self, *, by: str = ALICE, spoil: Callable[[dict], Any] = lambda _signed: None) -> "Story":
        """ALICE leaves a third-party invite; somebody redeems it for BOB with what `spoil` made of the statement."""
        key = encode_base64(IDENTITY_KEY.public_key)
        self.send("m.room.third_party_invite", ALICE, {"public_key": key}, state_key="token")
        signed = sign_json({"mxid": BOB, "token": "token"}, "id.test", IDENTITY_KEY)
        spoil(signed)
        return self.invite(BOB, by=by, third_party_invite={"signed": signed})


@dataclass(frozen=True)
class Case:
    name: str
    rule: str | None
    tell: Callable[[], Story]


def levels_of(**content: Any) -> Callable[[], Story]:
    """BOB, at 50, replaces power levels in which DAVE has 75, CAROL 50 and some other levels are above 50."""
    before = {
        "users": {BOB: 50, CAROL: 50, DAVE: 75},
        "events": {LEVELS: 50, "high": 80, "low": 20},
        "notifications": {"room": 60},
        "ban": 70,
    }
    return lambda: Story().open(BOB, **before).levels(BOB, **(before | content))


def notifications_of(version: str) -> Story:
    """BOB, at 50, sets a notification level of 99."""
    users = {"users": {ALICE: 100, BOB: 50}, "events": {LEVELS: 50}}
    return Story(version).open(BOB, **users).levels(BOB, **users, notifications={"room": 99})


def redaction_by(user: str, version: str, target: str) -> Story:
    story = Story(version)
    if user != ALICE:
        story.open(user)
    return story.send("m.room.redaction", user, redacts=target)


ALL_100 = {"users": {ALICE: 100}}
THIRD, TOPIC, MESSAGE, ALIASES = "m.room.third_party_invite", "m.room.topic", "m.room.message", "m.room.aliases"

FEDERATION = (
    Case("unfederated, same server", None, lambda: Story(**{"m.federate": False}).open(BOB)),
    Case("unfederated, another server", "4", lambda: Story(**{"m.federate": False}).open(CAROL)),
)
JOINS = (
    Case("member without state key", "5.1", lambda: Story().send(MEMBER, ALICE, {"membership": "join"})),
    Case("member without membership", "5.1", lambda: Story().send(MEMBER, ALICE, state_key=ALICE)),
    Case("member that is nobody", "5.1", lambda: Story().invite("bob")),
    Case("unknown membership", "5.8", lambda: Story().member(ALICE, BOB, "friend")),
    Case("membership that is no string", "5.8", lambda: Story().member(ALICE, BOB, 5)),
    Case("the creator joins", None, Story),
    Case("join for another", "5.3.2", lambda: Story().open().member(ALICE, BOB, "join")),
    Case("banned joins", "5.3.3", lambda: Story().open(BOB).ban(BOB).join(BOB)),
    Case("uninvited joins", "5.3.7", lambda: Story().join(BOB)),
    Case("invited joins", None, lambda: Story().invite(BOB).join(BOB)),
    Case("joined joins again", None, lambda: Story().open(BOB).rule("invite").join(BOB)),
    Case("invited joins a knock room", None, lambda: Story().rule("knock").invite(BOB).join(BOB)),
    Case("vouched for", None, lambda: Story().rule("restricted").join(BOB, voucher=ALICE)),
    Case("vouched for, either way", None, lambda: Story().rule("knock_restricted").join(BOB, voucher=ALICE)),
    Case("vouched for by nobody", "5.3.5.2", lambda: Story().rule("restricted").join(BOB)),
    Case("vouched for by a stranger", "5.3.5.2", lambda: Story().rule("restricted").join(BOB, voucher=CAROL)),
    Case(
        "vouched for by the powerless",
        "5.3.5.2",
        lambda: Story().open(CAROL, invite=1).rule("restricted").join(BOB, voucher=CAROL),
    ),
    Case("invited into a restricted room", None, lambda: Story().rule("restricted").invite(BOB).join(BOB)),
    Case("public", None, lambda: Story().open(BOB)),
    Case("private", "5.3.7", lambda: Story().rule("private").join(BOB)),
    Case("join rule that is no string", "5.3.7", lambda: Story().rule(["public"]).join(BOB)),
)
INVITES = (
    Case("third-party invite", None, lambda: Story().third_party()),
    Case("third-party invite of the banned", "5.4.1.1", lambda: Story().ban(BOB).third_party()),
    Case("no signed", "5.4.1.2", lambda: Story().invite(BOB, third_party_invite={})),
    Case("no mxid", "5.4.1.3", lambda: Story().third_party(spoil=lambda signed: signed.pop("mxid"))),
    Case("no token", "5.4.1.3", lambda: Story().third_party(spoil=lambda signed: signed.pop("token"))),
    Case("another's mxid", "5.4.1.4", lambda: Story().third_party(spoil=lambda signed: signed.update(mxid=CAROL))),
    Case("unknown token", "5.4.1.5", lambda: Story().third_party(spoil=lambda signed: signed.update(token="other"))),
    Case("another's invite", "5.4.1.6", lambda: Story().open(CAROL).third_party(by=CAROL)),
    Case("changed statement", "5.4.1.8", lambda: Story().third_party(spoil=lambda signed: signed.update(more=1))),
    Case("no signature", "5.4.1.8", lambda: Story().third_party(spoil=lambda signed: signed.pop("signatures"))),
    Case("stranger invites", "5.4.2", lambda: Story().invite(CAROL, by=BOB)),
    Case("invite of a member", "5.4.3", lambda: Story().open(BOB).invite(BOB)),
    Case("invite of the banned", "5.4.3", lambda: Story().ban(BOB).invite(BOB)),
    Case("invite", None, lambda: Story().open(BOB).invite(CAROL, by=BOB)),
    Case("invite without power", "5.4.5", lambda: Story().open(BOB, invite=1).invite(CAROL, by=BOB)),
)
DEPARTURES = (
    Case("leave", None, lambda: Story().open(BOB).leave(BOB)),
    Case("decline", None, lambda: Story().invite(BOB).leave(BOB)),
    Case("take back a knock", None, lambda: Story().rule("knock").knock(BOB).leave(BOB)),
    Case("leave from outside", "5.5.1", lambda: Story().leave(BOB)),
    Case("the banned leave", "5.5.1", lambda: Story().ban(BOB).leave(BOB)),
    Case("stranger removes", "5.5.2", lambda: Story().open(BOB).leave(BOB, by=CAROL)),
    Case("remove", None, lambda: Story().open(BOB).leave(BOB, by=ALICE)),
    Case("remove without power", "5.5.5", lambda: Story().open(BOB, CAROL, users={BOB: 49}).leave(CAROL, by=BOB)),
    Case("remove equals", "5.5.5", lambda: Story().open(BOB, users={BOB: 50, CAROL: 50}).leave(CAROL, by=BOB)),
    Case("remove a creator", "5.5.5", lambda: Story().open(BOB, users={BOB: 2**53 - 1}).leave(ALICE, by=BOB)),
    Case("unban", None, lambda: Story().open(BOB, users={BOB: 50}).ban(CAROL).leave(CAROL, by=BOB)),
    Case("no unban", "5.5.3", lambda: Story().open(BOB, users={BOB: 50}, ban=51).ban(CAROL).leave(CAROL, by=BOB)),
    Case("ban of somebody outside", None, lambda: Story().ban(BOB)),
    Case("stranger bans", "5.6.1", lambda: Story().open(BOB).ban(BOB, by=CAROL)),
    Case("ban without power", "5.6.3", lambda: Story().open(BOB).ban(CAROL, by=BOB)),
    Case("creators ban creators", "5.6.3", lambda: Story(additional_creators=[BOB]).open(BOB).ban(ALICE, by=BOB)),
)
KNOCKS = (
    Case("knock", None, lambda: Story().rule("knock").knock(BOB)),
    Case("knock, restricted", None, lambda: Story().rule("knock_restricted").knock(BOB)),
    Case("knock where nobody opens", "5.7.1", lambda: Story().rule("invite").knock(BOB)),
    Case("knock for another", "5.7.2", lambda: Story().rule("knock").knock(BOB, by=ALICE)),
    Case("knock from inside", "5.7.4", lambda: Story().rule("knock").knock(ALICE)),
    Case("knock of the banned", "5.7.4", lambda: Story().rule("knock").ban(BOB).knock(BOB)),
)
SENDING = (
    Case("stranger speaks", "6", lambda: Story().send(MESSAGE, BOB)),
    Case("speaks after leaving", "6", lambda: Story().open(BOB).leave(BOB).send(MESSAGE, BOB)),
    Case("third-party invite, no power", "7.1", lambda: Story().open(BOB, invite=1).send(THIRD, BOB, state_key="t")),
    Case("third-party invite, state_default", None, lambda: Story().open(BOB).send(THIRD, BOB, state_key="t")),
    Case("message without power", "8", lambda: Story().open(BOB, events_default=1).send(MESSAGE, BOB)),
    Case("state without power", "8", lambda: Story().open(BOB).send(TOPIC, BOB, state_key="")),
    Case("redaction in general", None, lambda: redaction_by(CAROL, "12", "$x")),
    Case("another's state key", "9", lambda: Story().open(BOB, state_default=0).send("x", BOB, state_key=CAROL)),
    Case("own state key", None, lambda: Story().open(BOB, state_default=0).send("x", BOB, state_key=BOB)),
)
POWER_LEVELS = (
    Case("ban that is no integer", "10.1", lambda: Story().levels(ban="50")),
    Case("events that is no object", "10.2", lambda: Story().levels(events=[])),
    Case("notifications with a string", "10.2", lambda: Story().levels(notifications={"room": "50"})),
    Case("users that is no object", "10.3", lambda: Story().levels(users=[])),
    Case("users with no user", "10.3", lambda: Story().levels(users={"bob": 5})),
    Case("users with a string", "10.3", lambda: Story().levels(users={BOB: "5"})),
    Case("the creator in users", "10.4", lambda: Story().levels(users={ALICE: 100})),
    Case("another creator in users", "10.4", lambda: Story(additional_creators=[BOB]).levels(users={BOB: 100})),
    Case("first levels", None, lambda: Story().levels(users={BOB: 2**53 - 1})),
    Case("no change", None, levels_of()),
    Case("lower a level above one's own", "10.6.1", levels_of(ban=50)),
    Case(
        "remove a level above one's own",
        "10.6.1",
        lambda: Story().open(BOB, users={BOB: 50}, ban=51).levels(BOB, users={BOB: 50}),
    ),
    Case("raise a level above one's own", "10.6.2", levels_of(kick=51)),
    Case("raise a level to one's own", None, levels_of(invite=50)),
    Case("lower an event above one's own", "10.7.1", levels_of(events={LEVELS: 50, "high": 50, "low": 20})),
    Case("raise an event above one's own", "10.8.1", levels_of(events={LEVELS: 50, "high": 80, "low": 51})),
    Case("lower a notification above one's own", "10.7.1", levels_of(notifications={"room": 50})),
    Case("demote an equal", "10.9.1", levels_of(users={BOB: 50, DAVE: 75})),
    Case("demote a superior", "10.9.1", levels_of(users={BOB: 50, CAROL: 50, DAVE: 50})),
    Case("demote oneself", None, levels_of(users={BOB: 10, CAROL: 50, DAVE: 75})),
    Case("promote oneself", "10.10.1", levels_of(users={BOB: 51, CAROL: 50, DAVE: 75})),
    Case("promote above oneself", "10.10.1", levels_of(users={BOB: 50, CAROL: 50, DAVE: 75, NEW: 51})),
    Case("promote to one's own", None, levels_of(users={BOB: 50, CAROL: 50, DAVE: 75, NEW: 50})),
)
OLDER_VERSIONS = (
    Case("v1 aliases from outside", None, lambda: Story("1").send(ALIASES, BOB, state_key="one.test")),
    Case("v5 aliases without state key", "v1:4.1", lambda: Story("5").send(ALIASES, ALICE)),
    Case("v5 aliases of another server", "v1:4.2", lambda: Story("5").send(ALIASES, ALICE, state_key="two.test")),
    Case("v6 aliases from outside", "6", lambda: Story("6").send(ALIASES, BOB, state_key="one.test")),
    Case("v6 knock", "5.8", lambda: Story("6").rule("knock").knock(BOB)),
    Case("v6 join of a knock room", "5.3.7", lambda: Story("6").rule("knock").invite(BOB).join(BOB)),
    Case("v7 knock", None, lambda: Story("7").rule("knock").knock(BOB)),
    Case("v7 restricted", "5.3.7", lambda: Story("7").rule("restricted").join(BOB, voucher=ALICE)),
    Case("v8 restricted", None, lambda: Story("8").rule("restricted").join(BOB, voucher=ALICE)),
    Case("v9 knock_restricted", "5.3.7", lambda: Story("9").rule("knock_restricted").join(BOB, voucher=ALICE)),
    Case("v9 knock on knock_restricted", "5.7.1", lambda: Story("9").rule("knock_restricted").knock(BOB)),
    Case("v9 strings", None, lambda: Story("9").levels(users={ALICE: "100"}, ban="50").levels(**ALL_100, ban=" 60")),
    Case("v9 level that is nothing", "10.6.2", lambda: Story("9").levels(**ALL_100).levels(**ALL_100, ban="x")),
    Case("v9 events that is nothing", "10.8", lambda: Story("9").levels(**ALL_100).levels(**ALL_100, events=5)),
    Case("v10 levels as strings", "10.3", lambda: Story("10").levels(users={ALICE: "100"})),
    Case("v11 creator with levels", None, lambda: Story("11").levels(**ALL_100)),
    Case("v11 creator without", "8", lambda: Story("11").levels(users={BOB: 50}).send(TOPIC, ALICE, state_key="")),
    Case("v5 notifications are free", None, lambda: notifications_of("5")),
    Case("v6 notifications are not", "10.8.1", lambda: notifications_of("6")),
    Case("v2 redaction, same server", None, lambda: redaction_by(CAROL, "2", "$x:two.test")),
    Case("v2 redaction, another server", "v1:11.3", lambda: redaction_by(CAROL, "2", "$x:one.test")),
    Case("v2 redaction with power", None, lambda: redaction_by(ALICE, "2", "$x:two.test")),
    Case("v3 redaction, another server", None, lambda: redaction_by(CAROL, "3", "$x")),
)
CASES = (*FEDERATION, *JOINS, *INVITES, *DEPARTURES, *KNOCKS, *SENDING, *POWER_LEVELS, *OLDER_VERSIONS)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_rules(case: Case):
    checked = case.tell().last
    assert checked is not None
    assert isinstance(checked.list_verdict, Allowed)
    verdict = checked.state_verdict
    assert (verdict.rule if isinstance(verdict, Rejected) else None) == case.rule, verdict
    if isinstance(verdict, Rejected):
        assert verdict.reason


@pytest.mark.parametrize(
    ("version", "sender", "changes", "rule"),
    [
        ("12", ALICE, {}, None),
        ("12", ALICE, {"prev_event_ids": ["$x"]}, "1.1"),
        ("12", ALICE, {"room_id": "!" + "a" * 43}, "1.2"),
        ("11", ALICE, {"room_id": "!x:two.test"}, "v1:1.2"),
        ("12", ALICE, {"content": {"room_version": "99"}}, "1.3"),
        ("12", ALICE, {"content": {"room_version": 12}}, "1.3"),
        ("10", ALICE, {"content": {}}, "v1:1.4"),
        ("11", ALICE, {"content": {}}, None),
        ("12", ALICE, {"content": {"additional_creators": [BOB, "@Ä:one.test"]}}, None),
        ("12", ALICE, {"content": {"additional_creators": BOB}}, "1.4"),
        ("12", ALICE, {"content": {"additional_creators": ["bob"]}}, "1.4"),
        ("11", ALICE, {"content": {"additional_creators": 5}}, None),
    ],
)
def test_rule_1(version: str, sender: str, changes: dict, rule: str | None):
    rules = ROOM_RULES[version]
    room_id = None if rules.room_id_is_create_event_id else "!room:one.test"
    given = {"room_id": room_id, "content": {"creator": ALICE}, "state_key": ""} | changes
    event = build(rules, given.pop("room_id"), "m.room.create", sender, given.pop("content"), **given)
    verdict = check_auth(event, {}, rules, create=event)
    assert (verdict.rule if isinstance(verdict, Rejected) else None) == rule
    assert check_auth_events_list(event, [], rules) is ALLOWED


def test_rule_2_the_room_is_that_of_the_create_event():
    room, other = new_room("12", 0), new_room("12", 1, topic="another")
    checked = room.send(MEMBER, ALICE, {"membership": "join"}, state_key=ALICE)
    verdict = check_auth(checked.event, room.state, room.rules, create=other.create)
    assert isinstance(verdict, Rejected) and verdict.rule == "2"


def test_the_create_event_of_version_12_is_no_auth_event():
    content = {"membership": "join"}
    for version in ROOM_RULES:
        types = auth_types(MEMBER, ALICE, ALICE, content, ROOM_RULES[version])
        assert (("m.room.create", "") in types) is (version != "12")


@pytest.mark.parametrize(
    ("event_type", "state_key", "content", "more"),
    [
        ("m.room.message", None, {}, set()),
        (MEMBER, BOB, {"membership": "leave"}, {(MEMBER, BOB)}),
        (MEMBER, BOB, {"membership": "knock"}, {(MEMBER, BOB), (RULES, "")}),
        (MEMBER, BOB, {"membership": "invite"}, {(MEMBER, BOB), (RULES, "")}),
        (
            *(MEMBER, BOB, {"membership": "invite", "third_party_invite": {"signed": {"token": "t"}}}),
            {(MEMBER, BOB), (RULES, ""), ("m.room.third_party_invite", "t")},
        ),
        (MEMBER, BOB, {"membership": "invite", "third_party_invite": "x"}, {(MEMBER, BOB), (RULES, "")}),
        (
            *(MEMBER, BOB, {"membership": "join", "join_authorised_via_users_server": CAROL}),
            {(MEMBER, BOB), (RULES, ""), (MEMBER, CAROL)},
        ),
        (MEMBER, BOB, {"membership": "leave", "join_authorised_via_users_server": CAROL}, {(MEMBER, BOB)}),
        (MEMBER, BOB, {"membership": ["join"]}, {(MEMBER, BOB)}),
        (MEMBER, None, {"membership": "join"}, set()),
    ],
)
def test_selection(event_type: str, state_key: str | None, content: dict, more: set):
    assert auth_types(event_type, ALICE, state_key, content, ROOM_RULES["12"]) == {(LEVELS, ""), (MEMBER, ALICE)} | more
    assert auth_types("m.room.create", ALICE, "", {}, ROOM_RULES["12"]) == set()


def test_rule_3_the_list_of_auth_events():
    story = Story("11").open(BOB).levels(users={ALICE: 100})
    state, rules = story.room.state, story.room.rules
    event = story.send("m.room.message", ALICE).room.events[-1]
    create, member, levels = state["m.room.create", ""], state[MEMBER, ALICE], state[LEVELS, ""]
    message = story.room.events[-1]
    elsewhere = replace(levels, room_id="!other:one.test")
    for auth_events, rejected, rule in (
        ([create, member, levels], (), None),
        ([create, member, levels, levels], (), "3.1"),
        ([create, member, levels, state[MEMBER, BOB]], (), "3.2"),
        ([create, message], (), "3.2"),
        ([create, member, levels], {levels.event_id}, "3.3"),
        ([member, levels], (), "v1:2.4"),
        ([create, member, elsewhere], (), "3.5"),
    ):
        verdict = check_auth_events_list(event, auth_events, rules, rejected_event_ids=rejected)
        assert (verdict.rule if isinstance(verdict, Rejected) else None) == rule


def test_rule_3_in_version_12_the_create_event_is_refused():
    story = Story()
    event = story.send("m.room.message", ALICE).room.events[-1]
    verdict = check_auth_events_list(event, [story.room.create], story.room.rules)
    assert isinstance(verdict, Rejected) and verdict.rule == "3.2"


def test_the_first_join_is_the_creators_and_follows_the_create_event():
    room = new_room("10", 0, creator=BOB)
    assert room.send(MEMBER, ALICE, {"membership": "join"}, state_key=ALICE).allowed is False
    assert room.send(MEMBER, BOB, {"membership": "join"}, state_key=BOB).allowed is True
    late = build(room.rules, room.room_id, MEMBER, BOB, {"membership": "join"}, state_key=BOB, prev_event_ids=["$x"])
    assert isinstance(check_auth(late, {}, room.rules, create=room.create), Rejected)


def test_when_a_redaction_is_applied():
    story = Story("11").open(BOB, CAROL)
    target = story.send("m.room.message", BOB).room.events[-1]
    own = story.send("m.room.redaction", ALICE, redacts=target.event_id).room.events[-1]
    others = story.send("m.room.redaction", CAROL, redacts=target.event_id).room.events[-1]
    assert may_redact(own, target, redact_level_met=False)
    assert not may_redact(others, target, redact_level_met=False)
    assert may_redact(others, target, redact_level_met=True)
    assert not may_redact(own, replace(target, room_id="!other:one.test"), redact_level_met=True)
