"""Buses and pins of a board, out of its configuration (board.json, made from board_configs/*.toml), each with one user.

`machine` is handed in: the module of that name by board.py, a fake one by tests. equipment.py asks for what sensors and
actuators are attached to. May import errors.
"""

import asyncio
import time

from thingroom_node.errors import SettingsError

I2C_HZ = 100_000


class Hardware:
    """`machine` is the module; `load(name)` imports onewire, neopixel and dht, which MicroPython brings along.

    Each pin has one user: SettingsError tells who has it already.
    """

    def __init__(self, config, machine, load):
        self._config = config
        self._machine = machine
        self._load = load
        self._users = {}
        self._shared = {}

    @property
    def battery(self):
        """{"pin": ..., "divider": [above, below]} where the board measures its battery, else None."""
        return self._config.get("battery")

    # --- buses, shared by all that are on them ------------------------------------------------------------------------

    def i2c(self, name):
        """The machine.I2C called `name`; the board's first for ""."""
        bus = self._bus("i2c", name)
        return self._once(bus["name"], self._make_i2c, bus)

    def uart(self, name, baud):
        """A machine.UART, for one part alone."""
        bus = self._bus("uart", name)
        self._claim(bus["tx"], bus["name"])
        self._claim(bus["rx"], bus["name"])
        pins = {"tx": self._pin(bus["tx"]), "rx": self._pin(bus["rx"])}
        return self._machine.UART(bus["id"], baudrate=baud, rxbuf=1024, **pins)

    def line(self, which, baud):
        """The machine.UART of a serial link: a number, with the port's own pins, or a bus of board.json by its name."""
        if isinstance(which, int):
            return self._machine.UART(which, baudrate=baud)
        return self.uart(which, baud)

    def wire(self, pin):
        """MicroPython's onewire.OneWire on `pin`; the board's usual pin for None."""
        if pin is None:
            pin = self._bus("onewire", "")["pin"]
        return self._once("wire {}".format(pin), self._make_wire, pin)

    def _make_i2c(self, bus):
        pins = {}
        for use in ("scl", "sda"):
            if bus.get(use) is not None:
                self._claim(bus[use], bus["name"])
                pins[use] = self._pin(bus[use])
        return self._machine.I2C(bus["id"], freq=bus.get("frequency", I2C_HZ), **pins)

    def _make_wire(self, pin):
        self._claim(pin, "onewire")
        return self._load("onewire").OneWire(self._pin(pin))

    def _bus(self, kind, name):
        there = [bus for bus in self._config.get("buses", ()) if bus["kind"] == kind]
        for bus in there:
            if name in ("", bus["name"]):
                return bus
        names = ", ".join([bus["name"] for bus in there])
        raise SettingsError("This board has no {} {}; it has {}.".format(kind, name, names or "none"))

    def _once(self, key, make, argument):
        if key not in self._shared:
            self._shared[key] = make(argument)
        return self._shared[key]

    # --- pins, one user each ------------------------------------------------------------------------------------------

    def output(self, pin, who, is_inverted):
        """An Output, off."""
        self._claim(pin, who)
        off = 1 if is_inverted else 0
        return Output(self._pin(pin, self._machine.Pin.OUT, value=off), is_inverted)

    def input(self, pin, who, is_inverted, pull):
        """An Input; `pull` is up, down or none."""
        self._claim(pin, who)
        return Input(self._pulled(pin, pull), is_inverted, self._edges())

    def counter(self, pin, who, pull, debounce_ms, uptime):
        """A Counter of falling edges."""
        self._claim(pin, who)
        return Counter(self._pulled(pin, pull), self._machine.Pin.IRQ_FALLING, debounce_ms, uptime)

    def analog(self, pin, who):
        """An Analog."""
        self._claim(pin, who)
        adc_class = self._machine.ADC
        if hasattr(adc_class, "ATTN_11DB"):
            return Analog(adc_class(self._pin(pin), atten=adc_class.ATTN_11DB))
        return Analog(adc_class(self._pin(pin)))

    def pwm(self, pin, who, frequency, is_inverted):
        """A machine.PWM, off; upside down where the lamp is on while the pin is low."""
        self._claim(pin, who)
        off = 65535 if is_inverted else 0
        made = self._machine.PWM(self._pin(pin), freq=frequency, duty_u16=off)
        return InvertedPwm(made) if is_inverted else made

    def pixels(self, pin, who, count):
        """MicroPython's neopixel.NeoPixel with `count` pixels."""
        self._claim(pin, who)
        return self._load("neopixel").NeoPixel(self._pin(pin, self._machine.Pin.OUT), count)

    def dht(self, pin, who):
        """The function that fills a buffer of 5 bytes with what a DHT22 on `pin` sends."""
        self._claim(pin, who)
        made = self._pin(pin)
        read = self._load("dht").dht_readinto
        return lambda buffer: read(made, buffer)

    def hx711(self, data, clock, who):
        """(data pin, clock) of an HX711."""
        self._claim(data, who)
        self._claim(clock, who)
        pin = self._pin(clock, self._machine.Pin.OUT, value=1)
        return self._pin(data, self._machine.Pin.IN), QuickClock(pin, self._machine)

    def led(self):
        """The board's own light as a callable: True for on. None where there is none."""
        led = self._config.get("led")
        if led is None:
            return None
        if led["kind"] == "neopixel":
            return PixelLight(self.pixels(led["pin"], "led", 1))
        return self.output(led["pin"], "led", led.get("active_low", False)).value

    def _edges(self):
        return self._machine.Pin.IRQ_RISING | self._machine.Pin.IRQ_FALLING

    def _pulled(self, pin, pull):
        kinds = {"up": self._machine.Pin.PULL_UP, "down": self._machine.Pin.PULL_DOWN, "none": None}
        return self._pin(pin, self._machine.Pin.IN, kinds[pull])

    def _pin(self, pin, *arguments, **more):
        try:
            return self._machine.Pin(pin, *arguments, **more)
        except ValueError:
            raise SettingsError("This board has no pin {}.".format(pin))

    def _claim(self, pin, who):
        user = self._users.get(pin)
        if user is not None:
            raise SettingsError("{} wants pin {}, which {} has.".format(who, pin, user))
        self._users[pin] = who


class Output:
    """A pin that is on or off, whichever level that is."""

    def __init__(self, pin, is_inverted):
        self._pin = pin
        self._on = 0 if is_inverted else 1

    def value(self, is_on):
        """Turn it on or off."""
        self._pin.value(self._on if is_on else 1 - self._on)


class Input:
    """A pin that something changes, at any time; `changed()` waits for that."""

    def __init__(self, pin, is_inverted, trigger):
        self._pin = pin
        self._active = 0 if is_inverted else 1
        self._was_active = False
        self._before = pin.value()
        self._flag = asyncio.ThreadSafeFlag()
        pin.irq(handler=self._on_edge, trigger=trigger)

    def value(self):
        """1 while it is active."""
        return 1 if self._pin.value() == self._active else 0

    def was_active(self):
        """Whether it has become active since the last call."""
        was, self._was_active = self._was_active, False
        return was

    async def changed(self):
        """Ends at the next change."""
        await self._flag.wait()

    def _on_edge(self, pin):
        level = pin.value()
        # A pulse so short that it is over already has been active as well.
        if level == self._active or level == self._before:
            self._was_active = True
        self._before = level
        self._flag.set()


class Counter:
    """Counts falling edges that are `debounce_ms` apart at least. The count begins at 0 with each start."""

    def __init__(self, pin, trigger, debounce_ms, uptime):
        self._debounce_ms = debounce_ms
        self._uptime = uptime
        self._count = self._told = 0
        self._edge = time.ticks_ms()
        self._last_at = uptime()
        pin.irq(handler=self._on_edge, trigger=trigger)

    def read(self):
        """(pulses, uptime of the last of them in ms). Ask more often than every six days, as ticks wrap."""
        if self._count != self._told:
            self._told = self._count
            self._last_at = self._uptime() - time.ticks_diff(time.ticks_ms(), self._edge)
        return self._told, self._last_at

    def _on_edge(self, pin):
        now = time.ticks_ms()
        if time.ticks_diff(now, self._edge) >= self._debounce_ms:
            self._count += 1
        self._edge = now


class Analog:
    """An analogue pin in millivolts: ESP32 calibrates by itself (read_uv), RP2 has 16 bits of 3.3 V."""

    def __init__(self, adc):
        self._adc = adc
        self._is_calibrated = hasattr(adc, "read_uv")

    def millivolts(self):
        """At the pin, now."""
        if self._is_calibrated:
            return self._adc.read_uv() // 1000
        return (self._adc.read_u16() * 3300 + 32767) // 65535


class InvertedPwm:
    """A PWM for what is on while the pin is low."""

    def __init__(self, pwm):
        self._pwm = pwm

    def duty_u16(self, duty):
        """0 is off."""
        self._pwm.duty_u16(65535 - duty)


class QuickClock:
    """The clock of an HX711: no interrupt makes a pulse so long that the part turns itself off."""

    def __init__(self, pin, machine):
        self._machine = machine
        self.on = pin.on
        self.off = pin.off

    def pulse(self):
        """High for some microseconds."""
        state = self._machine.disable_irq()
        self.on()
        self.off()
        self._machine.enable_irq(state)


class PixelLight:
    """One NeoPixel as a light that is on or off; dim, as they are next to people's beds."""

    def __init__(self, pixels):
        self._pixels = pixels

    def __call__(self, is_on):
        self._pixels[0] = (12, 12, 12) if is_on else (0, 0, 0)
        self._pixels.write()
