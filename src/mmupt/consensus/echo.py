"""What a response repeats of its prompt, so that the prompt's own examples never count."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice

from mmupt.consensus.boxes import Mark

_IMAGE_MARK = re.compile(r"<image>|<\|[a-z_]{1,30}\|>")
# What a chat template writes between a question and its answer.
_ROLE = re.compile(
    r"^\s{0,9}(?:<\|[a-z_]{1,30}\|>\s{0,9}){0,3}(?:assistant|model)\s{0,3}:?(?=\s|$)", re.I
)
_WORD = re.compile(r"\S+")
_MIN_INSIDE = 20
_CONTEXT = 80
_MAX_COPIES = 50
_PLACEHOLDER = re.compile(
    r"(?:the |your |final |correct )*(?:answer|ans|result|value|number|letter|x|n)"
    r"|[.…\s]*|答え?|解答|回答",
    re.IGNORECASE,
)


def without_echo(response: str, prompt: str) -> str:
    """The response without the prompt that it repeats at its beginning or, whole, further on.

    Spacing and image marks may differ at the beginning. A response that breaks off within the
    prompt leaves nothing.
    """
    if not prompt.strip():
        return response
    for version in dict.fromkeys((prompt, _IMAGE_MARK.sub(" ", prompt))):
        rest = _after_words(response, version.split())
        if rest is not None:
            return _ROLE.sub("", rest)
        # Short prompts may stand in a response for other reasons than repetition.
        core = version.strip()
        if len(core) >= _MIN_INSIDE and (place := response.rfind(core)) >= 0:
            return _ROLE.sub("", response[place + len(core) :])
    return response


def without_copies(response: str, marks: Iterable[Iterator[Mark]], prompt: str) -> str:
    r"""The response without the marks that stand in the prompt with their context.

    The context is what precedes a mark on its line, and goes with it. A bare `\boxed{42}` is the
    response's own even if the prompt has an example `\boxed{42}`; a placeholder such as
    `\boxed{your answer}` is not.

    Args:
        response: without a whole echo of the prompt.
        marks: the marks of each kind, the last one first. Those before the last one that is the
            response's own do not matter and stay.
        prompt: the prompt as it was given.
    """
    squeezed = " ".join(prompt.split())
    cuts = []
    for kind in marks:
        for mark in islice(kind, _MAX_COPIES):
            cut = _copied_span(response, mark, prompt, squeezed)
            if cut is None:
                break
            cuts.append(cut)
    kept, begin = [], 0
    for start, end in sorted(cuts):
        kept.append(response[begin:start])
        begin = max(begin, end)
    return "".join((*kept, response[begin:]))


def _copied_span(response: str, mark: Mark, prompt: str, squeezed: str) -> tuple[int, int] | None:
    """What to cut for a copied mark; None if the mark is the response's own."""
    if mark.content is None:
        return None
    begin = max(response.rfind("\n", 0, mark.start) + 1, mark.start - _CONTEXT)
    whole = response[mark.start : mark.end]
    # A phrase is context enough for itself, a box or a tag is not.
    leading = len(response[begin : mark.start].strip()) >= 4
    if leading or whole[:1] not in "\\<":
        context = " ".join(response[begin : mark.end].split())
        if context in squeezed:
            return begin, mark.end
    if _PLACEHOLDER.fullmatch(mark.content) and whole in prompt:
        return mark.start, mark.end
    return None


def _after_words(response: str, words: list[str]) -> str | None:
    """What follows the words at the beginning of the response; None if it does not begin so."""
    matches = _WORD.finditer(response)
    end = 0
    for count, word in enumerate(words):
        match = next(matches, None)
        if match is None:
            # The response is over before the prompt is: cut off while repeating it.
            return "" if count and len(response.strip()) >= _MIN_INSIDE else None
        if match[0] != word:
            last = count == len(words) - 1
            if last and match[0].startswith(word):
                return response[match.start() + len(word) :]
            return None
        end = match.end()
    return response[end:] if words else None
