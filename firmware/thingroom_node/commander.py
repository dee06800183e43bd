"""Carries commands out, in the order that makes each happen at most once: judge, store the counter, act, report.

Everything it needs is handed in; nothing here waits. May import commands, actuators, configuration. runner.py gives it
what answers bring, and takes a sample after each command, which carries the result.
"""

from thingroom_node import configuration
from thingroom_node.commands import Judge


class Commander:
    """`journal` is a commands.Journal, `actuators` an Actuators, `settled` a ConfigurationFile."""

    def __init__(self, key_id, journal, actuators, configuration_file):
        self._judge = Judge(key_id)
        self._journal = journal
        self._actuators = actuators
        self._file = configuration_file
        self._sieve = configuration.Sieve()
        self.asked = self._judge.asked

    @property
    def dropped(self):
        """How often a command was not carried out, by reason."""
        return self._judge.dropped

    @property
    def highest(self):
        """The counter of the last command taken, or None: for the hello."""
        return self._journal.highest or None

    @property
    def results(self):
        """What the next envelope has to report."""
        return self._journal.results

    @property
    def configuration(self):
        """The Configuration that counts."""
        return self._file.current

    def take(self, data, gateway_key, moment):
        """Carry out the command in `data` (bytes) if it is one for us. Returns an event to emit.

        Its "outcome" is there when it was taken, else "reason". Raises nothing: a full disk is a reason, too.
        """
        found, reason = self._judge.judge(data, gateway_key, self._journal.highest, moment)
        if found is not None and self._journal.is_full:
            found, reason = None, "busy"
        if found is None:
            return {"event": "command", "reason": reason}
        try:
            self._journal.begin(found.counter)
        except OSError as error:
            return {"event": "command", "reason": "storage_failed", "error": str(error)}
        outcome = self._act(found)
        self._journal.end(outcome)
        return {"event": "command", "counter": found.counter, "actuator": found.actuator, "outcome": outcome}

    def _act(self, found):
        if found.configuration is None:
            return self._actuators.set(found.actuator, found.value)
        try:
            return self._file.replace(found.configuration)
        except OSError:
            return "failed"

    def complete(self, measured):
        """The records of a sample: what was `measured`, calibrated, and the actuators' states."""
        return configuration.calibrated(measured, self._file.current.calibration) + self._actuators.records()

    def is_worth(self, records, interval_ms, uptime):
        """Whether to keep a sample: not when nothing in it has changed by its threshold and nothing is to report.

        configuration.URGENT when it is to go out at once.
        """
        if self._journal.results:
            return configuration.URGENT
        return self._sieve.is_worth(records, self._file.current, interval_ms, uptime)

    def kept(self, records, uptime, results):
        """`records` and `results` are stored as an envelope. Raises OSError."""
        self._sieve.kept(records, uptime)
        if results:
            self._journal.reported(results)
