"""State resolution: Synapse's result in rooms that fork by chance, and what must hold of any algorithm."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pytest
from tests.synapse_peer.oracle_client import Oracle, running_oracle
from tests.synapse_peer.room_generator import ALICE, BOB, CAROL, Room, new_room

from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.room_rules import ROOM_RULES
from thingroom_homeserver.core.state_resolution import StateMap, resolve

VERSIONS = list(ROOM_RULES)
MEMBER, LEVELS, RULES, TOPIC = "m.room.member", "m.room.power_levels", "m.room.join_rules", "m.room.topic"


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    with running_oracle() as running:
        yield running


@dataclass(frozen=True)
class Forked:
    """State sets to resolve and the events behind them; the create event is the first."""

    version: str
    events: dict[str, Event]
    state_sets: list[dict[tuple[str, str], str]]

    def resolve(self) -> StateMap:
        return resolve(ROOM_RULES[self.version], self.state_sets, self.events.get)


def forked(*branches: Room) -> Forked:
    events = {event.event_id: event for branch in branches for event in branch.events}
    sets = [{key: event.event_id for key, event in branch.state.items()} for branch in branches]
    return Forked(branches[0].rules.version, events, sets)


def ask(oracle: Oracle, case: Forked) -> StateMap:
    index = {event_id: number for number, event_id in enumerate(case.events)}
    sets = [[index[event_id] for event_id in state.values()] for state in case.state_sets]
    return oracle.resolve(case.version, [event.pdu for event in case.events.values()], sets)


def random_forks(version: str, seed: int) -> Iterator[Forked]:
    """A room forks, its branches grow, their resolution forks again: each time there may be something to resolve."""
    trunk = public_room(version, seed)
    trunk.grow(seed)
    for generation in range(3):
        branches = [trunk.fork(f"{generation} {number}") for number in range(2 + seed % 3)]
        for branch in branches:
            branch.grow(6 + branch.random.randrange(20))
        case = forked(*branches)
        yield case
        resolved = {key: case.events[event_id] for key, event_id in case.resolve().items()}
        trunk = branches[0].fork(generation, resolved)
        trunk.events = list(case.events.values())


@pytest.mark.parametrize("version", VERSIONS)
def test_random_forks_resolve_as_synapse_resolves_them(oracle: Oracle, version: str):
    conflicts = 0
    for seed in range(10):
        for case in random_forks(version, seed):
            ours = case.resolve()
            assert ours == ask(oracle, case), f"seed {seed}"
            conflicts += sum(len({state.get(key) for state in case.state_sets}) > 1 for key in ours)
    assert conflicts > 100, "too few conflicts for the comparison to mean much"


@pytest.mark.parametrize("version", VERSIONS)
def test_order_repetition_and_the_callers_auth_chain_do_not_matter(version: str):
    for case in random_forks(version, 2):
        rules, fetch = ROOM_RULES[version], case.events.get
        expected = case.resolve()
        assert resolve(rules, case.state_sets[::-1], fetch) == expected
        assert resolve(rules, [*case.state_sets, *case.state_sets], fetch) == expected
        assert resolve(rules, case.state_sets[:1] * 2, fetch) == case.state_sets[0]

        def auth_chain(event_ids: Iterable[str], case: Forked = case) -> set[str]:
            reached: set[str] = set()
            pending = list(event_ids)
            while pending:
                new = set(case.events[pending.pop()].auth_event_ids) - reached
                reached |= new
                pending += new
            return reached

        assert resolve(rules, case.state_sets, fetch, auth_chain) == expected
        assert set(expected) <= set().union(*case.state_sets)


def test_nothing_and_one_state():
    rules = ROOM_RULES["12"]
    assert resolve(rules, [], {}.get) == {}
    assert resolve(rules, [{("a", ""): "$x"}], {}.get) == {("a", ""): "$x"}
    with pytest.raises(ValueError, match="create event"):
        resolve(rules, [{("a", ""): "$x"}, {("a", ""): "$y"}], {}.get)


def public_room(version: str, seed: object = 0) -> Room:
    """ALICE's public room with BOB, who has 50, and CAROL."""
    room = new_room(version, seed)
    room.send(MEMBER, ALICE, {"membership": "join"}, state_key=ALICE)
    users = {BOB: 50} if room.rules.privileged_creators else {ALICE: 100, BOB: 50}
    room.send(LEVELS, ALICE, {"users": users}, state_key="")
    room.send(RULES, ALICE, {"join_rule": "public"}, state_key="")
    for user in (BOB, CAROL):
        assert room.send(MEMBER, user, {"membership": "join"}, state_key=user).allowed
    return room


@pytest.mark.parametrize("version", VERSIONS[1:])
def test_a_ban_wins_over_what_the_banned_did_meanwhile(oracle: Oracle, version: str):
    room = public_room(version)
    here, there = room.fork("here"), room.fork("there")
    ban = here.send(MEMBER, ALICE, {"membership": "ban"}, state_key=BOB)
    topic = there.send(TOPIC, BOB, {"topic": "mine"}, state_key="")
    assert ban.allowed and topic.allowed
    case = forked(here, there)
    resolved = case.resolve()
    assert resolved == ask(oracle, case)
    assert resolved[MEMBER, BOB] == ban.event.event_id
    assert (TOPIC, "") not in resolved


@pytest.mark.parametrize("version", VERSIONS[1:])
def test_of_two_topics_the_later_wins_unless_its_sender_lost_power(oracle: Oracle, version: str):
    room = public_room(version)
    here, there = room.fork("here"), room.fork("there")
    one, two = (branch.send(TOPIC, user, {}, state_key="") for branch, user in ((here, ALICE), (there, BOB)))
    later = max((one.event, two.event), key=lambda event: (event.origin_server_ts, event.event_id))
    case = forked(here, there)
    assert case.resolve()[TOPIC, ""] == later.event_id
    demoted = {} if room.rules.privileged_creators else {ALICE: 100}
    assert here.send(LEVELS, ALICE, {"users": demoted}, state_key="").allowed
    case = forked(here, there)
    resolved = case.resolve()
    assert resolved == ask(oracle, case)
    assert resolved[TOPIC, ""] == one.event.event_id


def test_a_rejected_event_authorises_nothing():
    room = public_room("12")
    here, there = room.fork("here"), room.fork("there")
    here.send(TOPIC, BOB, {"topic": "here"}, state_key="")
    there.send(TOPIC, BOB, {"topic": "there"}, state_key="")
    case = forked(here, there)
    bobs_join = room.state[MEMBER, BOB].event_id
    assert (TOPIC, "") in case.resolve()
    without = resolve(room.rules, case.state_sets, case.events.get, is_rejected=lambda event_id: event_id == bobs_join)
    assert (TOPIC, "") not in without


def test_an_unknown_event_is_left_out():
    room = public_room("12")
    here, there = room.fork("here"), room.fork("there")
    lost = here.send(TOPIC, ALICE, {"topic": "here"}, state_key="").event.event_id
    known = there.send(TOPIC, BOB, {"topic": "there"}, state_key="").event.event_id
    case = forked(here, there)
    del case.events[lost]
    assert case.resolve()[TOPIC, ""] == known
