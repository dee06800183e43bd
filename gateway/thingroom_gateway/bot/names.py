"""The vocabulary of a conversation: what the devices in it are called.

Pure; may import devices, profiles, alerts.defaults. worker.py makes one for each message, of the devices
that the person may see there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from thingroom_gateway.alerts.defaults import presets
from thingroom_gateway.bot.vocabulary import Phrase, Vocabulary, phrase_of
from thingroom_gateway.devices import Device
from thingroom_gateway.profiles import Profile

# Words of names that are no names by themselves.
_COMMON = frozenset("the of in at on off my a an and sensor device no number room".split())  # noqa: SIM905


def vocabulary_of(devices: Sequence[Device]) -> Vocabulary:
    """Names of devices (whole, or a word that only one of them has), quantities, actuators, places and states."""
    by_name: dict[Phrase, list[int]] = defaultdict(list)
    by_word: dict[str, set[int]] = defaultdict(set)
    places: dict[Phrase, str] = {}
    for device in devices:
        phrase = phrase_of(device.row.name)
        if phrase:
            by_name[phrase].append(device.row.id)
        for word in phrase:
            by_word[word].add(device.row.id)
        if place := phrase_of(device.row.place):
            places[place] = device.row.place
    quantities: dict[Phrase, str] = {}
    actuators: dict[Phrase, str] = {}
    states: dict[Phrase, str] = {}
    options: set[Phrase] = set()
    preset_names: set[str] = set()
    for profile in {device.row.profile: device.profile for device in devices}.values():
        _add_profile(profile, quantities, actuators, states, options)
        preset_names.update(presets(profile))
    taken = {*quantities, *actuators, *places}
    for word, owners in by_word.items():
        if len(owners) == 1 and word not in _COMMON and (word,) not in taken and not word.isdecimal():
            by_name.setdefault((word,), list(owners))
    return Vocabulary(
        devices={phrase: tuple(found) for phrase, found in by_name.items()},
        quantities=quantities,
        actuators=actuators,
        places=places,
        states=states,
        options=frozenset(options),
        presets=frozenset(preset_names),
    )


def _add_profile(
    profile: Profile,
    quantities: dict[Phrase, str],
    actuators: dict[Phrase, str],
    states: dict[Phrase, str],
    options: set[Phrase],
) -> None:
    for quantity in profile.quantities.values():
        for name in (quantity.name, quantity.name.replace("_", " "), quantity.title):
            if phrase := phrase_of(name):
                quantities.setdefault(phrase, quantity.name)
        for truth, word in quantity.words.items():
            if phrase := phrase_of(word):
                states.setdefault(phrase, truth)
    for actuator in profile.actuators.values():
        for name in (actuator.name, actuator.name.replace("_", " "), actuator.title):
            if phrase := phrase_of(name):
                actuators.setdefault(phrase, actuator.name)
        options.update(phrase for option in actuator.options if (phrase := phrase_of(option)))
