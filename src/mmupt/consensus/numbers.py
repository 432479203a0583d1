"""The last number of a text, with its unit."""

from __future__ import annotations

import re

from mmupt.consensus.quantities import quantity
from mmupt.consensus.writing import delatex, plain

_NUMBER = re.compile(
    r"(?<![A-Za-z0-9_.])[-+−]?[$¥€£]?\s?(?:\d{1,3}(?:,\d{3})+|\d{1,100})(?:\.\d{1,100})?"
    r"(?:/\d{1,100})?(?:\s?[A-Za-zμΩ°%‰℃]{1,8}(?:\^?[23²³])?(?:/[A-Za-z]{1,4}\^?[23²³]?)?|[一-龯ァ-ヶー]{1,8})?"
)
_BARE_NUMBER = re.compile(r"[-+−]?(?:\d{1,3}(?:,\d{3})+|\d{1,100})(?:\.\d{1,100})?(?:/\d{1,100})?")


def last_number(text: str) -> str | None:
    """The last number of a text, with its unit where that is known."""
    found = list(_NUMBER.finditer(text))
    if not found:
        return None
    last = found[-1]
    whole = last[0].strip()
    if whole.endswith(" in") and text[last.end() :].strip(" .。"):
        whole = whole[:-3]  # `5 in total`: no inches
    if quantity(delatex(plain(whole))) is not None:
        return whole
    bare = _BARE_NUMBER.search(whole)
    return None if bare is None else bare[0]
