"""Which language a question is written in, from its letters and commonest words."""

from __future__ import annotations

import re
from typing import Literal

Language = Literal["en", "ja", "zh", "ko", "latin", "other"]

# Names of commands and what stands in mathematics are no words of a language.
_MARKUP = re.compile(r"\\[A-Za-z]+|\$[^$]{0,500}\$|<[^<>\s]{1,60}>|https?://\S+")
_KANA = re.compile("[\u3041-\u3096\u30a1-\u30fa\uff66-\uff9d]")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff々]")
_HANGUL = re.compile("[\uac00-\ud7a3]")
_WORD = re.compile(r"[^\W\d_]+")
_LATIN = re.compile("[A-Za-z\u00c0-\u024f]+")
# fmt: off
_ENGLISH = frozenset({
    "a", "an", "and", "are", "at", "can", "did", "do", "does", "find", "for", "from", "how", "if",
    "image", "in", "is", "it", "many", "much", "of", "on", "or", "picture", "shown", "that", "the",
    "there", "this", "to", "was", "what", "when", "where", "which", "who", "why", "with",
})
# fmt: on
_FEW = 3
"""Fewer words than this in Latin letters are of any language: `AB = ?`"""


def language_of(text: str) -> Language | None:
    """The language of a text; None where it cannot be told, as in `AB = ?`.

    Japanese has kana; ideographs without any are Chinese. English has one of its commonest words;
    Latin letters without one are `latin`: some other language, not told further.
    """
    plain = _MARKUP.sub(" ", text)
    letters = sum(map(len, _WORD.findall(plain)))
    if not letters:
        return None
    han, kana = len(_HAN.findall(plain)), len(_KANA.findall(plain))
    # Letters of a drawing (AB, kg) stand in Japanese questions too, hence not the majority.
    if kana and (han + kana) * 5 >= letters:
        return "ja"
    if len(_HANGUL.findall(plain)) * 5 >= letters:
        return "ko"
    if han * 2 >= letters:
        return "zh" if han > _FEW else None
    latin = _LATIN.findall(plain)
    if sum(map(len, latin)) * 2 < letters:
        return "other"
    words = [word.lower() for word in latin if len(word) > 1 or word in ("a", "A")]
    if any(word in _ENGLISH for word in words):
        return "en"
    return "latin" if len(words) >= _FEW else None
