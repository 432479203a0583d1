"""Figures of a return on investment in words, in English and Japanese. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal

from mmupt.ledger.cost import round_number
from mmupt.ledger.figures import Figure, Roi, Term, Unit
from mmupt.words import texts

PACKAGE = "mmupt.ledger"

_MINOR = {
    **dict.fromkeys(("JPY", "KRW", "VND", "CLP", "ISK", "XAF", "XOF"), 0),
    **dict.fromkeys(("KWD", "BHD", "OMR", "JOD", "TND"), 3),
}
"""Decimals of a currency's smallest unit (ISO 4217) where they are not 2."""

_DAYS = 365.25 / 12
"""Days of a month."""


def words(lang: str) -> Mapping[str, str]:
    """The ledger's texts by key.

    Raises:
        ConfigError: a language that there are no texts for.
    """
    return texts(PACKAGE, lang)


def amount(value: float, unit: Unit, currency: str, *, fine: bool = False) -> str:
    """A number without its unit. Small ones keep three significant digits.

    Args:
        fine: more digits of points and kWh, as formulas need them.
    """
    minor = _MINOR.get(currency, 2)
    match unit:
        case "count":
            least, significant = 0, 0
        case "seconds":
            least, significant = 1, 0
        case "percent":
            least, significant = 2, 0
        case "points":
            least, significant = (2, 0) if fine else (1, 0)
        case "money":
            least, significant = minor, 3
        case "price":  # as it was given
            least, significant = max(minor, _decimals(value)), 0
        case "kwh":
            least, significant = 0, 4 if fine else 3
        case "months":
            least, significant = 0, 3
    decimals = least
    if significant and value and math.isfinite(value):
        lead = math.floor(math.log10(abs(value)))
        decimals = min(12, max(least, significant - 1 - lead))
    text = f"{abs(value):,.{decimals}f}"
    return f"−{text}" if value < 0 and any(c in "123456789" for c in text) else text


def _decimals(value: float) -> int:
    """Decimals of the shortest text that is this number."""
    exponent = Decimal(repr(float(value))).normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def shown(term: Term, currency: str, lang: str, *, fine: bool = True) -> str:
    """A number with its unit; what is not known is told as that."""
    said = words(lang)
    if term.value is None:
        return said["unknown"]
    text = amount(term.value, term.unit, currency, fine=fine)
    if term.unit == "count":
        return text
    if term.unit in ("money", "price"):
        pattern = said.get(f"money_{currency}", said["money"])
        return pattern.format(amount=text, currency=currency)
    return said[term.unit].format(amount=text)


def title(figure: Figure, lang: str) -> str:
    """What a figure is called."""
    return words(lang)[f"figure_{figure.key}"].format(number=round_number(figure.about))


def value_text(figure: Figure, currency: str, lang: str) -> str:
    """A figure with its interval, or why there is none."""
    said = words(lang)
    if figure.value is None:
        return why_text(figure, lang)
    text = shown(Term(figure.value, figure.unit), currency, lang, fine=False)
    if ends := range_text(figure, currency, lang):
        text = said["with_interval"].format(value=text, low=ends[0], high=ends[1])
    if figure.why is None:
        return text
    return said["with_why"].format(value=text, why=why_text(figure, lang))


def range_text(figure: Figure, currency: str, lang: str) -> tuple[str, str] | None:
    """Both ends of a figure's interval without their unit; None where it has none."""
    if figure.low is None or figure.high is None:
        return None
    high = words(lang)["no_end"]
    if math.isfinite(figure.high):
        high = amount(figure.high, figure.unit, currency)
    return amount(figure.low, figure.unit, currency), high


def why_text(figure: Figure, lang: str) -> str:
    """Why a figure is not defined, or not sure."""
    said = words(lang)
    own = f"why_{figure.why}_{figure.key}"
    return said.get(own) or said[f"why_{figure.why}"]


def formula_text(figure: Figure, currency: str, lang: str) -> str:
    """How a figure comes about, with the numbers in it; a dash for those that are not known yet."""
    filled = {name: shown(term, currency, lang) for name, term in figure.terms.items()}
    return words(lang)[f"formula_{figure.formula}"].format_map(defaultdict(lambda: "–", filled))


def assumption_texts(figure: Figure) -> tuple[str, ...]:
    """The settings that a figure assumes, as they stand in a configuration."""
    return tuple(
        f"{name}: {'null' if value is None else value}" for name, value in figure.assumptions
    )


def sentences(roi: Roi, lang: str) -> tuple[str, ...]:
    """The answer for those who decide, in a few sentences."""
    said = words(lang)
    if not roi.rounds:
        return (said["said_no-rounds"],)
    return (_outcome(roi, lang), *_labels(roi, lang), *_payback(roi, lang), *_total(roi, lang))


def _say(roi: Roi, key: str, lang: str) -> str:
    """A figure's value alone, without its interval."""
    figure = roi.figure(key)
    return shown(Term(figure.value, figure.unit), roi.config.currency, lang, fine=False)


def _outcome(roi: Roi, lang: str) -> str:
    said, gain, cost = words(lang), roi.figure("gain"), roi.figure("label_free_cost")
    name = "rounds_1" if roi.rounds == 1 else "rounds_n"
    name += "_pilot" if roi.pilot else ""
    text = _say(roi, "label_free_cost", lang)
    if cost.value is None:
        text = said["cost_unknown"].format(why=why_text(cost, lang))
    case = gain.why or ("won" if gain.value is not None and gain.value > 0 else "no-gain")
    ends = range_text(gain, roi.config.currency, lang) or ("", "")
    won = said["gain_said"].format(
        value=_say(roi, "gain", lang), low=ends[0], high=ends[1],
        confidence=f"{100 * roi.results.confidence:g}",
    )  # fmt: skip
    rounds = said[name].format(n=roi.rounds)
    return said[f"said_{case}"].format(rounds=rounds, cost=text, gain=won)


def _labels(roi: Roi, lang: str) -> tuple[str, ...]:
    said, saving = words(lang), roi.figure("net_saving").value
    case = "alone"
    if saving is not None:
        case = "cheaper" if saving > 0 else "dearer" if saving < 0 else "same"
    apart = Term(None if saving is None else abs(saving), "money")
    instead = "_instead" if roi.config.labels_instead is not None else ""
    text = said[f"labels_{case}"].format(
        labels=_say(roi, "labels_avoided", lang),
        worth=_say(roi, "cost_labels_avoided", lang),
        saving=shown(apart, roi.config.currency, lang),
    )
    return text, said[f"labels_caution{instead}"]


def _payback(roi: Roi, lang: str) -> tuple[str, ...]:
    said, figure = words(lang), roi.figure("break_even")
    if figure.why in ("no-gain", "no-value"):
        return (said[f"pays_{figure.why}"],)
    if figure.value is None:
        return ()
    price = Term(roi.config.correct_answer_value, "price")
    return (
        said["pays_not-proven" if figure.why else "pays_back"].format(
            answers=f"{roi.config.answers_per_month:,}",
            value=shown(price, roi.config.currency, lang),
            monthly=_say(roi, "monthly_value", lang),
            time=_time(figure.value, lang),
            best="" if figure.low is None else _time(figure.low, lang),
        ),
    )


def _time(months: float, lang: str) -> str:
    """Months as people say them: 12 days (a day begun counts), 3.4 months."""
    said = words(lang)
    days = math.ceil(months * _DAYS)
    if days <= 1:
        return said["under_a_day"]
    if months < 2:
        return said["days"].format(amount=f"{days}")
    return said["months"].format(amount=f"{months:,.1f}")


def _total(roi: Roi, lang: str) -> tuple[str, ...]:
    if roi.figure("total_cost").value is None:
        return ()
    said = words(lang)["said_total"]
    return (
        said.format(labels=_say(roi, "labels_used", lang), total=_say(roi, "total_cost", lang)),
    )
