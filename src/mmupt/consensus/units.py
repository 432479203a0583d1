"""Units of measure: what `12 cm`, `60 km/h`, `¥1,200` and `12個` are worth in base units.

Decisions:

- A unit is part of the value: 12 cm = 0.12 m, 12 cm != 12 m, 12 cm != 12.
- Marks that only say what is counted or measured drop out, as they are written or left out at will:
  counters (個, 人, 枚, `pieces`), the degree sign of an angle, 円 and ¥ on a price, 年 of a
  calendar year. So 12個 = 12, 30° = 30 and ¥1,200 = 1200円 = 1200, at the price that 12個 = 12人:
  equivalence is transitive, and both are 12, which is what models write most.
  Every other currency is a unit: $12 != 12.
- Percent is a factor: 30% = 0.3 != 30. So are ‰ and 割.
- Radians are read as angles (π/6 rad = 30°), a bare π/6 is not.
- Temperatures are converted to degrees Celsius (32°F = 0°C); 20度 is an angle, 20℃ is not.
- Months and years are not converted to days.
- Turns drop out of rates: 1500 rpm = 25 rps = 25 s^-1, and 1500 min^-1 as nameplates write it.
  Hertz stay apart, as a shaft's speed is not a tone.
- `bars` are counted, not measured: 3 bar is a pressure, 3 bars is not.
- Prefixes of bytes are decimal (1 GB = 1000 MB), KiB and its like binary.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

Dimensions = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as a factor (and, for temperatures, an offset) to base units.

    Attributes:
        scale: value in base units of one unit.
        dimensions: (base unit, exponent), sorted; empty for what drops out.
        offset: added before scaling: base = (value + offset) * scale.
        radians: whether the value is an angle in radians.
    """

    scale: Fraction
    dimensions: Dimensions = ()
    offset: Fraction = Fraction(0)
    radians: bool = False


def _rows(table: str) -> Iterator[tuple[str, Fraction, str]]:
    for line in table.strip().splitlines():
        scale, base, *names = line.split()
        for name in names:
            yield name.replace("_", " "), Fraction(scale), base


# scale, base unit ("1" drops out), spellings; _ stands for a space.
_TABLE = """
1/1000000000 m nm nanometer nanometers nanometre nanometres ナノメートル
1/1000000 m μm micrometer micrometers micron microns マイクロメートル
1/1000 m mm millimeter millimeters millimetre millimetres ミリメートル ミリ
1/100 m cm centimeter centimeters centimetre centimetres センチメートル センチ
1 m m meter meters metre metres メートル
1000 m km kilometer kilometers kilometre kilometres キロメートル
127/5000 m in inch inches インチ " ''
381/1250 m ft foot feet フィート '
1143/1250 m yd yard yards ヤード
201168/125 m mi mile miles マイル
1852 m nmi nautical_mile nautical_miles 海里
1/1000 m^3 L l ℓ liter liters litre litres リットル
1/1000000 m^3 mL ml cc milliliter milliliters millilitre millilitres ミリリットル
1/100000 m^3 cL cl
1/10000 m^3 dL dl deciliter deciliters デシリットル
1 m^3 kL kl キロリットル
100 m^2 アール
10000 m^2 ha hectare hectares ヘクタール
400000/121 m^2 坪坪
1/1000000000 kg μg microgram micrograms マイクログラム
1/1000000 kg mg milligram milligrams ミリグラム
1/1000 kg g gram grams グラム
1 kg kg kilogram kilograms キログラム
1000 kg t ton tons tonne tonnes トン
45359237/100000000 kg lb lbs pound pounds ポンド
45359237/1600000000 kg oz ounce ounces オンス
1/1000000000 s ns nanosecond nanoseconds
1/1000000 s μs microsecond microseconds
1/1000 s ms millisecond milliseconds ミリ秒
1 s s sec secs second seconds 秒 秒間
60 s min mins minute minutes 分 分間
3600 s h hr hrs hour hours 時間
86400 s day days 日 日間
604800 s wk week weeks 週間 週
1 month month months か月 ヶ月 カ月 ヵ月 箇月 ケ月 か月間 ヶ月間
12 month yr yrs year years 年 年間 か年
1 A A amp amps ampere amperes アンペア
1/1000 A mA
1 V V volt volts ボルト
1/1000 V mV
1000 V kV
1 W W watt watts ワット
1/1000 W mW
1000 W kW キロワット
1000000 W MW
1 Ω Ω ohm ohms オーム
1000 Ω kΩ
1 F F farad farads
1/1000000 F μF
1 J J joule joules ジュール
1000 J kJ
1 cal cal calorie calories カロリー
1000 cal kcal キロカロリー
1 N N newton newtons ニュートン
1000 N kN
1 Pa Pa pascal pascals パスカル
100 Pa hPa ヘクトパスカル
1000 Pa kPa
1000000 Pa MPa
100000 Pa bar バール
100 Pa mbar ミリバール
1 Hz Hz hz hertz ヘルツ
1000 Hz kHz
1000000 Hz MHz
1000000000 Hz GHz
1/60 s^-1 rpm RPM r/min rev/min revolutions_per_minute 回転/分 回転毎分
1 s^-1 rps r/s rev/s 回転/秒
1 lx lx lux Lux ルクス
1000 lx klx
1 mol mol mole moles モル
1 bit bit bits ビット
1 byte byte bytes バイト
1000 byte KB kB
1000000 byte MB
1000000000 byte GB
1000000000000 byte TB
1024 byte KiB
1048576 byte MiB
1073741824 byte GiB
1 px px pixel pixels ピクセル 画素
1 dB dB
1 USD USD dollar dollars US_dollar US_dollars ドル 米ドル
1/100 USD cent cents ¢ セント
1 EUR EUR euro euros € ユーロ
1 GBP GBP £
1 CNY CNY RMB 元 人民元
1 KRW KRW won ウォン ₩
1/100 1 % percent パーセント
1/1000 1 ‰ permil パーミル
1/10 1 割
1 1 ° deg degree degrees 度
1 1 円 yen JPY 円玉
1000 1 千円
10000 1 万円
100000000 1 億円
1 1 個 こ コ つ 人 名 枚 本 匹 頭 台 冊 回 件 点 羽 軒 杯 着 足 組 歳 才 番 番目 号 階 ページ
1 1 問 章 節 列 行 種類 通り 倍 社 校 店 箇所 か所 ヶ所 袋 箱 粒 株 艘 隻 両 基 票 位 段 票 房 皿
1 1 piece pieces pcs item items people persons person times
"""
_PREFIXES = {"$": "USD", "\ue000": "USD", "US$": "USD",
    "US\ue000": "USD", "¥": "円", "€": "EUR", "£": "GBP",
             "₩": "KRW"}  # fmt: skip
_PREFIX_STARTS = frozenset(sign[0] for sign in _PREFIXES)
_SPEEDS = {"時速": "h", "分速": "min", "秒速": "s"}
_POWER_WORDS = {
    "square ": 2, "sq ": 2, "sq. ": 2, "cubic ": 3, "平方": 2, "立方": 3,
}  # fmt: skip
_FACTOR = re.compile(r"(.+?)\s?(?:\^?\{?(-?[1-4])\}?)?")
_ORDINAL = re.compile(r"(?:st|nd|rd|th)")
# Single letters that stand for a variable as often as for a unit; read only after a plain number.
AMBIGUOUS = frozenset("mgshtLlAVWFJNK")


def _base_dimensions(base: str) -> Dimensions:
    if base == "1":
        return ()
    name, _, exponent = base.partition("^")
    return ((name, int(exponent or 1)),)


@lru_cache(maxsize=1)
def _named() -> dict[str, Unit]:
    """All units by name, with lower-case spellings where these are not another unit."""
    exact = {name: Unit(scale, _base_dimensions(base)) for name, scale, base in _rows(_TABLE)}
    exact["坪"] = exact.pop("坪坪")
    exact["rad"] = exact["radian"] = exact["radians"] = exact["ラジアン"] = Unit(
        Fraction(1), radians=True
    )
    celsius, kelvin = Unit(Fraction(1), (("°C", 1),)), Fraction(-27315, 100)
    for name in ("°C", "° C", "degrees Celsius", "degree Celsius", "celsius", "摂氏度"):
        exact[name] = celsius
    for name in ("°F", "° F", "degrees Fahrenheit", "degree Fahrenheit", "fahrenheit"):
        exact[name] = Unit(Fraction(5, 9), (("°C", 1),), Fraction(-32))
    for name in ("K", "kelvin", "kelvins", "ケルビン"):
        exact[name] = Unit(Fraction(1), (("°C", 1),), kelvin)
    folded: dict[str, Unit] = {}
    for name, unit in exact.items():
        if len(name) > 1:
            folded.setdefault(name.casefold(), unit)
    return {**folded, **exact}


@lru_cache(maxsize=4096)
def unit(text: str) -> Unit | None:
    """The unit that a string names: `cm`, `km/h`, `m/s^2`, `平方センチメートル`; None if none.

    Args:
        text: at most a few words, after `writing.plain` and `writing.delatex`.
    """
    text = " ".join(text.split()).rstrip(".")
    if not text or len(text) > 48:
        return None
    if (known := _named().get(text)) is not None:
        return known
    if text.endswith("毎秒") or text.endswith("毎時"):
        text = f"{text[:-2]}/{'s' if text.endswith('秒') else 'h'}"
    upper, *lower = re.split(r"\s?/\s?| per |毎", text)
    if len(lower) > 2:
        return None
    total: Unit | None = _product(upper)
    for part in lower:
        below = _product(part)
        if total is None or below is None:
            return None
        total = _times(total, below, -1)
    return total


def prefix(text: str) -> tuple[Unit, str] | None:
    """The currency (or 時速) that an amount starts with, and the rest; None if there is none."""
    for sign in _PREFIXES if text[:1] in _PREFIX_STARTS else ():
        if text.startswith(sign):
            known = unit(_PREFIXES[sign])
            return None if known is None else (known, text[len(sign) :].lstrip())
    return None


def spoken_speed(text: str) -> str:
    """`時速60km` as `60km/h`; other strings as they are."""
    for word, below in _SPEEDS.items() if text[1:2] == "速" else ():
        if text.startswith(word):
            rest = text[len(word) :]
            return rest if "/" in rest else f"{rest}/{below}"
    return text


def is_ordinal(text: str) -> bool:
    """Whether a number's suffix makes it an English ordinal."""
    return _ORDINAL.fullmatch(text) is not None


def _product(text: str) -> Unit | None:
    """Units joined by a dot, an asterisk or a space."""
    total: Unit | None = None
    for part in re.split(r"\s?[·*⋅]\s?", text.strip()):
        factor = _power(part)
        if factor is None:
            return None
        total = factor if total is None else _times(total, factor, 1)
    return total


def _power(text: str) -> Unit | None:
    """A named unit, with an exponent or a power word."""
    for word, exponent in _POWER_WORDS.items():
        if text.casefold().startswith(word):
            base = _named().get(text[len(word) :].strip())
            return None if base is None else _raise(base, exponent)
    match = _FACTOR.fullmatch(text)
    if match is None:
        return None
    base = _named().get(match[1])
    if base is None:
        return None
    return base if match[2] is None else _raise(base, int(match[2]))


def _raise(base: Unit, exponent: int) -> Unit | None:
    if base.offset or base.radians or not base.dimensions:
        return None
    dimensions = tuple((name, power * exponent) for name, power in base.dimensions)
    return Unit(base.scale**exponent, dimensions)


def _times(left: Unit, right: Unit, exponent: int) -> Unit | None:
    if left.offset or right.offset or left.radians or right.radians:
        return None
    powers = dict(left.dimensions)
    for name, power in right.dimensions:
        powers[name] = powers.get(name, 0) + power * exponent
    kept = tuple(sorted((name, power) for name, power in powers.items() if power))
    return Unit(left.scale * right.scale**exponent, kept)
