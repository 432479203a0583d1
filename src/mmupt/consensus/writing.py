"""One spelling for the many ways of writing the same characters.

Two layers, each a pure function of a string in linear time: `plain` mends Unicode (full-width
forms, minus signs, superscripts, vulgar fractions, circled numbers, zero-width marks), `delatex`
turns LaTeX markup into ordinary characters as far as it has an ordinary equivalent.
"""

from __future__ import annotations

import re
import unicodedata

_SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿ"
_SUPERSCRIPT_RUN = re.compile(f"[{_SUPERSCRIPTS}]+")
_SUPERSCRIPT_TABLE = str.maketrans(_SUPERSCRIPTS, "0123456789+-()n")
_VULGAR = re.compile("[¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞]")
_CIRCLED = re.compile("[①-⑳㉑-㉟㊱-㊿❶-❿➀-➉➊-➓]")

_SINGLE = {
    # Minus signs and dashes: U+2212 is what typeset mathematics uses, NFKC leaves it alone.
    **dict.fromkeys(map(ord, "−‐‑‒–—―⁃﹣－➖"), "-"),
    **dict.fromkeys(map(ord, "∕⁄／"), "/"),
    **dict.fromkeys(map(ord, "º˚ﾟ"), "°"),
    **dict.fromkeys(map(ord, "⋅∙•‧"), "·"),
    **dict.fromkeys(map(ord, "〜～∼﹏"), "~"),
    **dict.fromkeys(map(ord, "“”„‟❝❞〝〟"), '"'),
    **dict.fromkeys(map(ord, "‘’‚‛❛❜´"), "'"),
    **dict.fromkeys(map(ord, "✕✖⨯╳"), "×"),
    **dict.fromkeys(map(ord, "≦⩽"), "≤"),
    **dict.fromkeys(map(ord, "≧⩾"), "≥"),
    # Thin and no-break spaces inside numbers group digits; NFKC would make them ordinary spaces.
    **dict.fromkeys(map(ord, "\u2009\u202f\u2006"), "\u2009"),
    **dict.fromkeys(map(ord, "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u00ad\u2061\u2062"), None),
    **dict.fromkeys([*range(0x00, 0x09), *range(0x0E, 0x20), 0x7F], None),
    ord("∅"): "∅",
    ord("⌀"): "∅",
    ord("‰"): "‰",
    ord("ﾟ"): "°",
}
del _SINGLE[ord("ﾟ")]  # half-width semi-voiced mark: part of a kana, not a degree sign
_THIN_GROUP = re.compile("(?<=[0-9])\u2009(?=[0-9]{3}(?![0-9]))")
# A long-vowel mark before a digit is a minus typed with a kana keyboard.
_KANA_MINUS = re.compile("(?<![ぁ-んァ-ヶー一-龯A-Za-z0-9])ー(?=[0-9.])")


def plain(text: str) -> str:
    """Unicode mended: NFKC, with what NFKC would get wrong handled before it.

    NFKC alone turns `10³` into `103`, `1½` into `11⁄2` and `①②` into `12`, and keeps U+2212.
    """
    if text.isascii() and text.isprintable():
        return text.strip()
    text = _SUPERSCRIPT_RUN.sub(
        lambda match: "^{" + match[0].translate(_SUPERSCRIPT_TABLE) + "}", text
    )
    text = _VULGAR.sub(lambda match: f" {unicodedata.normalize('NFKC', match[0])} ", text)
    text = _CIRCLED.sub(lambda match: f" {unicodedata.numeric(match[0]):.0f} ", text)
    text = unicodedata.normalize("NFKC", text.translate(_SINGLE)).translate(_SINGLE)
    text = _THIN_GROUP.sub("", _KANA_MINUS.sub("-", text))
    return text.replace("\u2009", " ").strip()


_WRAPPERS = (
    "text|textrm|textbf|textit|textsf|texttt|textnormal|mathrm|mathbf|mathit|mathsf|mathtt|mathcal"
    "|mathbb|mathfrak|operatorname|mbox|hbox|boldsymbol|bm|rm|emph|underline|boxed|fbox|overline"
)
_KEPT_BAR = "overline"
_WRAPPED = re.compile(r"\\(?:" + _WRAPPERS.replace(f"|{_KEPT_BAR}", "") + r")\*?\s*\{([^{}]*)\}")
_DROPPED = re.compile(
    r"\\(?:left|right|bigl|bigr|Bigl|Bigr|biggl|biggr|big|Big|bigg|Bigg|displaystyle|textstyle"
    r"|limits|nolimits|bf|rm|it)(?![A-Za-z])"
)
_SPACES = re.compile(r"(?<!\\)\\(?:[,;:!> ]|(?:quad|qquad|thinspace|enspace|space)(?![A-Za-z]))")
_DEGREE = re.compile(r"\s*\^\s*(?:\{\s*\\(?:circ|degree)\s*\}|\\(?:circ|degree)(?![A-Za-z]))")
_NAMES = {
    "pi": "π", "infty": "∞", "pm": "±", "mp": "∓", "times": "×", "cdot": "·", "ast": "*",
    "div": "÷", "le": "≤", "leq": "≤", "leqslant": "≤", "ge": "≥", "geq": "≥", "geqslant": "≥",
    "lt": "<", "gt": ">", "ne": "≠", "neq": "≠", "approx": "≈", "cup": "∪", "cap": "∩",
    "emptyset": "∅", "varnothing": "∅", "in": "∈", "angle": "∠", "triangle": "△",
    "degree": "°", "circ": "°", "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ",
    "epsilon": "ε", "varepsilon": "ε", "theta": "θ", "lambda": "λ", "mu": "μ", "rho": "ρ",
    "sigma": "σ", "tau": "τ", "phi": "φ", "varphi": "φ", "omega": "ω", "Omega": "Ω",
    "Delta": "Δ", "yen": "¥", "pounds": "£", "euro": "€", "ldots": "...", "dots": "...",
    "colon": ":", "vert": "|", "mid": "|", "lbrace": "⦃", "rbrace": "⦄", "land": " and ",
    "lor": " or ", "to": "→", "rightarrow": "→", "sim": "~", "mathord": "",
}  # fmt: skip
_NAME = re.compile(r"\\(" + "|".join(sorted(_NAMES, key=len, reverse=True)) + r")(?![A-Za-z])\s?")
_ESCAPED = {"{": "⦃", "}": "⦄", "%": "%", "#": "#", "&": "&", "_": "_", "$": "\ue000"}
_ESCAPE = re.compile(r"\\([{}%#&_$])")
_DELIMITER = re.compile(r"\\[()\[\]]|\$")
_FRACTION = re.compile(r"\\[dtc]frac(?![A-Za-z])")
_BARE_MONEY = re.compile(r"(?<![\\$])\$(?=\s?-?[0-9.])")
DOLLAR = "\ue000"
"""Stands for a dollar sign that is money, after `delatex`."""


def delatex(text: str) -> str:
    r"""Ordinary characters for LaTeX markup.

    `\{` and `\}` become ⦃ and ⦄ (a set, where plain braces group), an escaped or lone dollar sign
    becomes `DOLLAR`; `\frac`, `\sqrt`, functions and unknown commands stay as they are.
    """
    if "$" in text and "\\$" not in text and not text.endswith("$"):
        # Delimiters come in pairs around something; money stands before digits, each time.
        money, count = _BARE_MONEY.subn(DOLLAR, text)
        text = money if count == text.count("$") else text
    if "\\" not in text:
        return text.replace("$", "").replace("{,}", ",").strip()
    text = _ESCAPE.sub(lambda match: _ESCAPED[match[1]], text)
    text = _DELIMITER.sub("", text)
    text = _SPACES.sub(lambda match: "" if match[0] == "\\!" else " ", text)
    text = _DROPPED.sub("", text)
    for _ in range(4):  # wrappers may nest a few times; deeper ones stay as text
        text, changed = _WRAPPED.subn(r"\1", text)
        if not changed:
            break
    text = _DEGREE.sub("°", text)
    text = _FRACTION.sub(r"\\frac", text)
    text = _NAME.sub(lambda match: _NAMES[match[1]], text)
    return text.replace("{,}", ",").strip()
