"""Choices and yes/no: short answers out of a closed list."""

from __future__ import annotations

import re

_KANA = "アイウエオカキクケコ"
_WORD = (
    r"(?:(?:the )?(?:correct )?(?:option|choice|answer|ans)(?: is)?[\s:]*"
    r"|選択肢\s*|正解[はが]?[\s:]*)?"
)
_LETTER = re.compile(
    rf"{_WORD}[(\[【「<]?\s?([A-Za-z{_KANA}])\s?[)\]】」>]?\s?[.:、。]?", re.IGNORECASE
)
_WITH_TEXT = re.compile(
    rf"{_WORD}(?:[(\[]\s?([A-Ha-h{_KANA}])\s?[)\]][\s.:]*|([A-Ha-h])\s?[.)](?=\s)|([A-H])\s?:(?=\s)"
    rf"|([{_KANA}])\s?[.):、](?=\s?\S))\s?(\S.*)",
    re.DOTALL,
)
# Names of species, whose genus is one letter: `E. coli` is no choice of E. A closed list, because
# nothing in their form tells them from the texts of options (`B. taxi`, `C. virus`, `D. museum`).
_SPECIES = re.compile(
    r"(?:A\.\s(?:aegypti|baumannii|fumigatus|gambiae|mellifera|thaliana)"
    r"|B\.\s(?:anthracis|burgdorferi|cereus|fragilis|pertussis|subtilis|thuringiensis)"
    r"|C\.\s(?:albicans|auris|botulinum|difficile|diphtheriae|elegans|jejuni|neoformans"
    r"|perfringens|reinhardtii|tetani|trachomatis)"
    r"|D\.\s(?:discoideum|melanogaster|rerio)|E\.\s(?:coli|faecalis|faecium|histolytica)"
    r"|F\.\s(?:catus|tularensis)|G\.\s(?:gallus|lamblia)"
    r"|H\.\s(?:erectus|habilis|influenzae|neanderthalensis|pylori|sapiens))\b"
)
_FURTHER = re.compile(rf"(?:^|[\s,;(])[A-H{_KANA}]\s?[.:)](?:\s|$)")
_SEVERAL = re.compile(r"[A-Za-z](?:\s*(?:,|、|;|/|\+|&|and|と|\s)\s*[A-Za-z])+|[A-Z]{2,6}")
_NUMBERED = re.compile(rf"{_WORD}[(\[]?\s?(\d{{1,2}})\s?[)\]]?\s?[.:番]?(?:目)?", re.IGNORECASE)

_YES = frozenset(["yes", "true", "はい", "ええ", "正しい", "真"])
_NO = frozenset(["no", "false", "いいえ", "いえ", "正しくない", "誤り", "偽", "間違い"])
_YES_ASKED = _YES | frozenset([
    "y", "t", "correct", "right", "yep", "yeah", "うん", "そうです", "そう", "ある", "あります",
    "有", "○", "◯", "〇",
])  # fmt: skip
_NO_ASKED = _NO | frozenset([
    "n", "f", "incorrect", "wrong", "nope", "not", "いや", "違います", "違う", "ない",
    "ありません", "無", "×", "✗", "x",
])  # fmt: skip
_POLITE = re.compile("です$|。$")


def letter(text: str) -> str | None:
    """The label of one choice: `B`, `(b)`, `B.`, `Option B`, `B. 12 cm`, `イ`; None if it is none.

    A letter with a text behind it is read for A to H only, and stands for its letter: `B. 12 cm` is
    B and not 12 cm. The species that are named most are an exception (`C. elegans`); others want
    kind "text".
    """
    if match := _LETTER.fullmatch(text):
        return match[1].upper()
    if _SPECIES.match(text):
        return None
    match = _WITH_TEXT.fullmatch(text) if len(text) <= 500 else None
    if match is None or _FURTHER.search(match[5]):
        return None
    found = match[1] or match[2] or match[3] or match[4]
    return found.upper() if found else None


def labels(text: str) -> tuple[str, ...] | None:
    """The labels chosen, sorted: one letter, several (`A, C` = `C and A` = `AC`), or a number."""
    if (single := letter(text)) is not None:
        return (single,)
    if match := _NUMBERED.fullmatch(text):
        return (match[1],)
    text = text.strip("[](){}⦃⦄ ")
    if len(text) <= 100 and _SEVERAL.fullmatch(text):
        found = re.findall(r"(?<![A-Za-z])[A-Za-z](?![A-Za-z])", text) or list(text)
        return tuple(sorted({label.upper() for label in found}))
    return None


def yes_or_no(text: str, asked: bool = False) -> bool | None:
    """True for yes, False for no, None for neither.

    Args:
        text: a whole answer.
        asked: the question is known to be a yes/no question (kind "yesno"): then y, n, ○, ×,
            correct, あります and their like count too.
    """
    word = _POLITE.sub("", text.casefold().strip(" .,!。、")).strip(" .,!。、")
    if word in (_YES_ASKED if asked else _YES):
        return True
    if word in (_NO_ASKED if asked else _NO):
        return False
    return None
