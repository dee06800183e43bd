"""Units: the SenML registry (RFC 8428 section 12.1, RFC 8798), their UCUM and QUDT codes, and what people read.

Pure; imports the standard library only. profiles.py resolves the units of profiles here, charts and replies convert
with `convert`, plain/ with `find`. Conversions are exact: factors are fractions, a result is rounded only where it has
no finite decimal (a third), and then to 28 digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from typing import Final

_CONTEXT: Final = Context(prec=28)
_ONE: Final = Fraction(1)
_ZERO: Final = Fraction(0)


class NotConvertible(Exception):
    """Two units measure different things, or one is unknown."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit. In terms of `base`, another unit's code: base value = value * factor + offset.

    `code` is the SenML symbol where `senml` is True (registered; `secondary` ones by RFC 8798), else a word of ours for
    what only people read. `shown` is how it is written for people; `ucum` and `qudt` may be empty where there is none.
    """

    code: str
    shown: str
    title: str
    base: str
    factor: Fraction = _ONE
    offset: Fraction = _ZERO
    ucum: str = ""
    qudt: str = ""
    senml: bool = True
    secondary: bool = False


def _primary(code: str, shown: str, title: str, ucum: str, qudt: str) -> Unit:
    return Unit(code, shown, title, code, ucum=ucum, qudt=qudt)


def _derived(
    code: str, shown: str, title: str, base: str, factor: str, ucum: str, qudt: str, *, offset: str = "0"
) -> Unit:
    return Unit(code, shown, title, base, Fraction(factor), Fraction(offset), ucum, qudt)


def _secondary(
    code: str, shown: str, title: str, base: str, factor: str, ucum: str, qudt: str, *, offset: str = "0"
) -> Unit:
    return Unit(code, shown, title, base, Fraction(factor), Fraction(offset), ucum, qudt, secondary=True)


def _read(
    code: str, shown: str, title: str, base: str, factor: str, ucum: str, qudt: str, *, offset: str = "0"
) -> Unit:
    return Unit(code, shown, title, base, Fraction(factor), Fraction(offset), ucum, qudt, senml=False)


_ALL: Final = (
    # RFC 8428 section 12.1, and the additions to it of RFC 8798 section 3.
    _primary("m", "m", "metre", "m", "M"),
    _primary("kg", "kg", "kilogram", "kg", "KiloGM"),
    _derived("g", "g", "gram", "kg", "1/1000", "g", "GM"),
    _primary("s", "s", "second", "s", "SEC"),
    _primary("A", "A", "ampere", "A", "A"),
    _primary("K", "K", "kelvin", "K", "K"),
    _primary("cd", "cd", "candela", "cd", "CD"),
    _primary("mol", "mol", "mole", "mol", "MOL"),
    _primary("Hz", "Hz", "hertz", "Hz", "HZ"),
    _primary("rad", "rad", "radian", "rad", "RAD"),
    _primary("sr", "sr", "steradian", "sr", "SR"),
    _primary("N", "N", "newton", "N", "N"),
    _primary("Pa", "Pa", "pascal", "Pa", "PA"),
    _primary("J", "J", "joule", "J", "J"),
    _primary("W", "W", "watt", "W", "W"),
    _primary("C", "C", "coulomb", "C", "C"),
    _primary("V", "V", "volt", "V", "V"),
    _primary("F", "F", "farad", "F", "FARAD"),
    _primary("Ohm", "Ω", "ohm", "Ohm", "OHM"),
    _primary("S", "S", "siemens", "S", "S"),
    _primary("Wb", "Wb", "weber", "Wb", "WB"),
    _primary("T", "T", "tesla", "T", "T"),
    _primary("H", "H", "henry", "H", "H"),
    _derived("Cel", "°C", "degree Celsius", "K", "1", "Cel", "DEG_C", offset="273.15"),
    _primary("lm", "lm", "lumen", "lm", "LM"),
    _primary("lx", "lx", "lux", "lx", "LUX"),
    _primary("Bq", "Bq", "becquerel", "Bq", "BQ"),
    _primary("Gy", "Gy", "gray", "Gy", "GRAY"),
    _primary("Sv", "Sv", "sievert", "Sv", "SV"),
    _primary("kat", "kat", "katal", "kat", "KAT"),
    _primary("m2", "m²", "square metre", "m2", "M2"),
    _primary("m3", "m³", "cubic metre", "m3", "M3"),
    _derived("l", "l", "litre", "m3", "1/1000", "l", "L"),
    _primary("m/s", "m/s", "metre per second", "m/s", "M-PER-SEC"),
    _primary("m/s2", "m/s²", "metre per square second", "m/s2", "M-PER-SEC2"),
    _primary("m3/s", "m³/s", "cubic metre per second", "m3/s", "M3-PER-SEC"),
    _derived("l/s", "l/s", "litre per second", "m3/s", "1/1000", "l/s", "L-PER-SEC"),
    _primary("W/m2", "W/m²", "watt per square metre", "W/m2", "W-PER-M2"),
    _primary("cd/m2", "cd/m²", "candela per square metre", "cd/m2", "CD-PER-M2"),
    _primary("bit", "bit", "bit", "bit", "BIT"),
    _primary("bit/s", "bit/s", "bit per second", "bit/s", "BIT-PER-SEC"),
    _primary("lat", "° N", "degree of latitude", "deg", "DEG"),
    _primary("lon", "° E", "degree of longitude", "deg", "DEG"),
    _primary("pH", "pH", "pH value", "[pH]", "PH"),
    _primary("dB", "dB", "decibel", "dB", "DeciB"),
    _primary("dBW", "dBW", "decibel relative to one watt", "dB[W]", ""),
    _primary("Bspl", "Bspl", "bel of sound pressure", "B[SPL]", ""),
    _primary("count", "", "count", "{count}", "NUM"),
    _primary("/", "", "ratio", "1", "UNITLESS"),
    _derived("%", "%", "percent", "/", "1/100", "%", "PERCENT"),
    _primary("%RH", "%", "relative humidity in percent", "%", "PERCENT_RH"),
    _primary("%EL", "%", "remaining battery in percent", "%", "PERCENT"),
    _primary("EL", "s", "remaining battery in seconds", "s", "SEC"),
    _primary("1/s", "/s", "event per second", "/s", "PER-SEC"),
    _derived("1/min", "/min", "event per minute", "1/s", "1/60", "/min", "PER-MIN"),
    _derived("beat/min", "bpm", "heart beat per minute", "1/s", "1/60", "{beat}/min", "BEAT-PER-MIN"),
    _primary("beats", "beats", "cumulative heart beats", "{beat}", "NUM"),
    _primary("S/m", "S/m", "siemens per metre", "S/m", "S-PER-M"),
    _derived("B", "B", "byte", "bit", "8", "By", "BYTE"),
    _primary("VA", "VA", "volt-ampere", "V.A", "V-A"),
    _primary("VAs", "VAs", "volt-ampere second", "V.A.s", ""),
    _primary("var", "var", "volt-ampere reactive", "V.A{reactive}", "V-A_Reactive"),
    _primary("vars", "vars", "volt-ampere-reactive second", "V.A.s{reactive}", ""),
    _primary("J/m", "J/m", "joule per metre", "J/m", "J-PER-M"),
    _primary("kg/m3", "kg/m³", "kilogram per cubic metre", "kg/m3", "KiloGM-PER-M3"),
    _primary("deg", "°", "degree of angle", "deg", "DEG"),
    # RFC 8798 section 4: secondary units.
    _secondary("ms", "ms", "millisecond", "s", "1/1000", "ms", "MilliSEC"),
    _secondary("min", "min", "minute", "s", "60", "min", "MIN"),
    _secondary("h", "h", "hour", "s", "3600", "h", "HR"),
    _secondary("MHz", "MHz", "megahertz", "Hz", "1000000", "MHz", "MegaHZ"),
    _secondary("kW", "kW", "kilowatt", "W", "1000", "kW", "KiloW"),
    _secondary("kVA", "kVA", "kilovolt-ampere", "VA", "1000", "kV.A", "KiloV-A"),
    _secondary("kvar", "kvar", "kilovar", "var", "1000", "kV.A{reactive}", "KiloV-A_Reactive"),
    _secondary("Ah", "Ah", "ampere hour", "C", "3600", "A.h", "A-HR"),
    _secondary("Wh", "Wh", "watt hour", "J", "3600", "W.h", "W-HR"),
    _secondary("kWh", "kWh", "kilowatt hour", "J", "3600000", "kW.h", "KiloW-HR"),
    _secondary("varh", "varh", "var hour", "vars", "3600", "V.A.h{reactive}", "V-A_Reactive-HR"),
    _secondary("kvarh", "kvarh", "kilovar hour", "vars", "3600000", "kV.A.h{reactive}", "KiloV-A_Reactive-HR"),
    _secondary("kVAh", "kVAh", "kilovolt-ampere hour", "VAs", "3600000", "kV.A.h", "KiloV-A-HR"),
    _secondary("Wh/km", "Wh/km", "watt hour per kilometre", "J/m", "18/5", "W.h/km", ""),
    _secondary("KiB", "KiB", "kibibyte", "bit", "8192", "KiBy", "KibiBYTE"),
    _secondary("GB", "GB", "gigabyte", "bit", "8000000000", "GBy", "GigaBYTE"),
    _secondary("Mbit/s", "Mbit/s", "megabit per second", "bit/s", "1000000", "Mbit/s", "MegaBIT-PER-SEC"),
    _secondary("B/s", "B/s", "byte per second", "bit/s", "8", "By/s", "BYTE-PER-SEC"),
    _secondary("MB/s", "MB/s", "megabyte per second", "bit/s", "8000000", "MBy/s", "MegaBYTE-PER-SEC"),
    _secondary("mV", "mV", "millivolt", "V", "1/1000", "mV", "MilliV"),
    _secondary("mA", "mA", "milliampere", "A", "1/1000", "mA", "MilliA"),
    _secondary("dBm", "dBm", "decibel relative to one milliwatt", "dBW", "1", "dB[mW]", "DeciB_M", offset="-30"),
    _secondary("ug/m3", "µg/m³", "microgram per cubic metre", "kg/m3", "1/1000000000", "ug/m3", "MicroGM-PER-M3"),
    _secondary("mm/h", "mm/h", "millimetre per hour", "m/s", "1/3600000", "mm/h", "MilliM-PER-HR"),
    _secondary("m/h", "m/h", "metre per hour", "m/s", "1/3600", "m/h", "M-PER-HR"),
    _secondary("ppm", "ppm", "part per million", "/", "1/1000000", "[ppm]", "PPM"),
    _secondary("/100", "%", "percent (by its other name)", "/", "1/100", "%", "PERCENT"),
    _secondary("/1000", "‰", "per mille", "/", "1/1000", "[ppth]", "PPTH"),
    _secondary("hPa", "hPa", "hectopascal", "Pa", "100", "hPa", "HectoPA"),
    _secondary("mm", "mm", "millimetre", "m", "1/1000", "mm", "MilliM"),
    _secondary("cm", "cm", "centimetre", "m", "1/100", "cm", "CentiM"),
    _secondary("km", "km", "kilometre", "m", "1000", "km", "KiloM"),
    _secondary("km/h", "km/h", "kilometre per hour", "m/s", "5/18", "km/h", "KiloM-PER-HR"),
    # What people read and other systems send; never in SenML.
    _read("degF", "°F", "degree Fahrenheit", "K", "5/9", "[degF]", "DEG_F", offset="45967/180"),
    _read("mmHg", "mmHg", "millimetre of mercury", "Pa", "133.322387415", "mm[Hg]", "MilliM_HG"),
    _read("inHg", "inHg", "inch of mercury", "Pa", "3386.388640341", "[in_i'Hg]", "IN_HG"),
    _read("kPa", "kPa", "kilopascal", "Pa", "1000", "kPa", "KiloPA"),
    _read("bar", "bar", "bar", "Pa", "100000", "bar", "BAR"),
    _read("psi", "psi", "pound per square inch", "Pa", "44482216152605/6451600000", "[psi]", "PSI"),
    _read("mph", "mph", "mile per hour", "m/s", "0.44704", "[mi_i]/h", "MI-PER-HR"),
    _read("in", "in", "inch", "m", "0.0254", "[in_i]", "IN"),
    _read("ft", "ft", "foot", "m", "0.3048", "[ft_i]", "FT"),
    _read("mm2", "mm²", "square millimetre", "m2", "1/1000000", "mm2", "MilliM2"),
    _read("ml", "ml", "millilitre", "m3", "1/1000000", "ml", "MilliL"),
    _read("l/min", "l/min", "litre per minute", "m3/s", "1/60000", "l/min", "L-PER-MIN"),
    _read("l/h", "l/h", "litre per hour", "m3/s", "1/3600000", "l/h", "L-PER-HR"),
    _read("m3/h", "m³/h", "cubic metre per hour", "m3/s", "1/3600", "m3/h", "M3-PER-HR"),
    _read("ppb", "ppb", "part per billion", "/", "1/1000000000", "[ppb]", "PPB"),
    _read("mg/m3", "mg/m³", "milligram per cubic metre", "kg/m3", "1/1000000", "mg/m3", "MilliGM-PER-M3"),
    _read("uV", "µV", "microvolt", "V", "1/1000000", "uV", "MicroV"),
    _read("kV", "kV", "kilovolt", "V", "1000", "kV", "KiloV"),
    _read("uA", "µA", "microampere", "A", "1/1000000", "uA", "MicroA"),
    _read("mW", "mW", "milliwatt", "W", "1/1000", "mW", "MilliW"),
    _read("kOhm", "kΩ", "kilohm", "Ohm", "1000", "kOhm", "KiloOHM"),
    _read("uS/cm", "µS/cm", "microsiemens per centimetre", "S/m", "1/10000", "uS/cm", "MicroS-PER-CentiM"),
    _read("kHz", "kHz", "kilohertz", "Hz", "1000", "kHz", "KiloHZ"),
    _read("MWh", "MWh", "megawatt hour", "J", "3600000000", "MW.h", "MegaW-HR"),
    _read("Wmin", "Wmin", "watt minute", "J", "60", "W.min", ""),
    _read("mAh", "mAh", "milliampere hour", "C", "18/5", "mA.h", "MilliA-HR"),
    _read("us", "µs", "microsecond", "s", "1/1000000", "us", "MicroSEC"),
    _read("d", "d", "day", "s", "86400", "d", "DAY"),
    _read("kB", "kB", "kilobyte", "bit", "8000", "kBy", "KiloBYTE"),
    _read("MB", "MB", "megabyte", "bit", "8000000", "MBy", "MegaBYTE"),
    _read("rpm", "rpm", "revolution per minute", "1/s", "1/60", "{rev}/min", "REV-PER-MIN"),
    _read("oz", "oz", "ounce", "kg", "0.028349523125", "[oz_av]", "OZ"),
    _read("lb", "lb", "pound", "kg", "0.45359237", "[lb_av]", "LB"),
)

UNITS: Final = {unit.code: unit for unit in _ALL}
# How other systems and people write units; the first unit that is written so.
_SPELLINGS: Final[dict[str, Unit]] = {}
for _unit in _ALL:
    for _spelling in (_unit.shown, _unit.ucum):
        if _spelling:
            _SPELLINGS.setdefault(_spelling, _unit)
_SPELLINGS.update(
    {
        spelling: UNITS[code]
        for spelling, code in {
            "°c": "Cel", "℃": "Cel", "degC": "Cel", "℉": "degF",
            "μg/m³": "ug/m3", "µg/m3": "ug/m3", "μg/m3": "ug/m3", "mbar": "hPa", "Lux": "lx", "lux": "lx",
            "L": "l", "L/min": "l/min", "L/h": "l/h", "m³": "m3", "kmh": "km/h", "wh": "Wh", "kwh": "kWh",
            "μS/cm": "uS/cm", "μs": "us", "μA": "uA", "μV": "uV", "mL": "ml", "ohm": "Ohm", "Minutes": "min",
            "Seconds": "s", "mi/h": "mph", "m³/h": "m3/h", "VAR": "var", "kB": "kB", "bpm": "beat/min", "Ω": "Ohm",
        }.items()
    }
)  # fmt: skip


def find(spelling: str) -> Unit | None:
    """The unit of a SenML code, of a code of ours, or of a way to write it ("°C", "µg/m³"); codes go first."""
    return UNITS.get(spelling) or _SPELLINGS.get(spelling.strip())


def convert(value: Decimal, unit_from: str, unit_to: str) -> Decimal:
    """`value` in `unit_from` as a number of `unit_to` (codes). Raises NotConvertible."""
    if unit_from == unit_to:
        return value
    source, target = UNITS.get(unit_from), UNITS.get(unit_to)
    if source is None or target is None or source.base != target.base:
        raise NotConvertible(f"{unit_from or 'no unit'} cannot be converted to {unit_to or 'no unit'}")
    return _decimal((Fraction(value) * source.factor + source.offset - target.offset) / target.factor)


def convertible(unit_from: str, unit_to: str) -> bool:
    """Whether `convert` takes these two codes."""
    source, target = UNITS.get(unit_from), UNITS.get(unit_to)
    return unit_from == unit_to or (source is not None and target is not None and source.base == target.base)


def convert_difference(value: Decimal, unit_from: str, unit_to: str) -> Decimal:
    """A difference of two values (a deadband, a rate) from one unit to the other: offsets do not count."""
    if not convertible(unit_from, unit_to):
        raise NotConvertible(f"{unit_from or 'no unit'} cannot be converted to {unit_to or 'no unit'}")
    if unit_from == unit_to:
        return value
    return _decimal(Fraction(value) * UNITS[unit_from].factor / UNITS[unit_to].factor)


def _decimal(number: Fraction) -> Decimal:
    """Exact where `number` has a finite decimal of at most 60 places; plain notation, no exponent."""
    denominator = number.denominator
    twos = (denominator & -denominator).bit_length() - 1
    rest, fives = denominator >> twos, 0
    while rest % 5 == 0:
        rest //= 5
        fives += 1
    places = max(twos, fives)
    if rest == 1 and places <= 60:
        return Decimal(number.numerator * 10**places // denominator).scaleb(-places, Context(prec=200))
    return _CONTEXT.divide(Decimal(number.numerator), Decimal(denominator))


@dataclass(frozen=True, slots=True)
class Preference:
    """What people of one home read instead: the unit, and how many more decimals it takes."""

    code: str
    more_digits: int = 0


# By what is asked in the configuration ([gateway.units]): the units that are replaced, and by what.
CHOICES: Final[dict[str, tuple[frozenset[str], dict[str, Preference]]]] = {
    "temperature": (
        frozenset({"Cel", "degF"}),
        {"Cel": Preference("Cel"), "degF": Preference("degF")},
    ),
    "pressure": (
        frozenset({"hPa"}),
        {"hPa": Preference("hPa"), "mmHg": Preference("mmHg"), "inHg": Preference("inHg", 2)},
    ),
    "speed": (
        frozenset({"m/s", "km/h"}),
        {"m/s": Preference("m/s"), "km/h": Preference("km/h"), "mph": Preference("mph")},
    ),
}
