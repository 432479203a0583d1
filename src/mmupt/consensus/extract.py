r"""The final answer of a response.

Marked answers come first: the last `\boxed{}`, `<answer>` tags, `The answer is ...`. An answer that
was begun and not finished (an open box, an open tag, reasoning that never ends) abstains, because
the response was cut off. What the response repeats of its prompt does not count.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

from mmupt.consensus import choices
from mmupt.consensus.boxes import boxes
from mmupt.consensus.canonical import canonical
from mmupt.consensus.echo import without_copies, without_echo
from mmupt.consensus.marks import has_mark, last_mark, phrases, tags, tidy
from mmupt.consensus.numbers import last_number
from mmupt.consensus.objects import FIELDS, NOTHING, answer_field, last_object
from mmupt.consensus.options import named, options
from mmupt.consensus.statements import stated_label, stated_yes_or_no
from mmupt.consensus.writing import delatex, plain
from mmupt.errors import ConfigError

MAX_RESPONSE = 1_000_000
"""Longer responses abstain (characters)."""
_TAIL = 4000

_END_TOKEN = re.compile(r"(?:<\|[a-z_]{1,30}\|>|</s>|<eos>|<end_of_turn>|<end_of_utterance>)$")


def extract(response: str, kind: str = "auto", prompt: str | None = None) -> str | None:
    r"""The final answer of a response, or None: an abstention.

    Args:
        response: what the model wrote after the prompt. If it repeats the prompt, that part is left
            out.
        kind: "boxed": the last box and nothing else. "auto": the last of a box and `<answer>` tags,
            else the last `The answer is ...` / 「答えは…」 / `####`, else a JSON object's answer
            field, else the whole response if it is a value (12 cm, B, yes, (1,2)), its last line if
            that is one, its last number if it has one, else the text. "number": the number of the
            marked answer, else the last one. "choice": labels (`B`, or `A, C`), or the label of the
            option whose text is given. "yesno": `yes` or `no`, from English or Japanese. "text":
            the marked answer, else all of it. "json": the answer field of the last JSON object,
            else the object, as canonical JSON.
        prompt: the prompt as it was given. Marks copied from it with their context never count, and
            the options it lists tell which answers name an option.

    Returns:
        The answer as it was written (labels, yes/no and JSON in their normal form), or None:
        nothing found, an empty mark, or a mark that is never closed. The text None inside a mark is
        an answer like any other.

    Raises:
        ConfigError: unknown kind.
    """
    if kind not in _KINDS:
        raise ConfigError(f"answer kind {kind!r} is unknown; choose from {', '.join(_KINDS)}")
    if len(response) > MAX_RESPONSE:
        return None
    text = _after_reasoning(_without_end_tokens(_own_part(response, prompt)))
    return None if text is None else _KINDS[kind](text, prompt or "") or None


def _own_part(response: str, prompt: str | None) -> str:
    """The response without what it repeats of the prompt: the whole of it, or single marks."""
    if not prompt:
        return response
    own = without_echo(response, prompt)
    if not has_mark(prompt):
        return own
    kept = without_copies(own, (boxes(own), tags(own), phrases(own)), prompt)
    # Nothing but dots and brackets around what was copied: no answer of its own.
    return kept if kept == own or any(map(str.isalnum, kept)) else ""


def _boxed(text: str, prompt: str) -> str | None:
    box = next(boxes(text), None)
    return None if box is None else box.content


def _auto(text: str, prompt: str) -> str | None:
    marked = last_mark(text)
    found = marked.content if marked else answer_field(text) or _unmarked(text)
    if found and prompt and (label := named(found, options(prompt))) is not None:
        return label
    return found


def _number(text: str, prompt: str) -> str | None:
    marked = last_mark(text)
    found = text.strip() if marked is None else marked.content
    if not found:
        return None
    if _is_value(found):
        return found
    return last_number(found)


def _choice(text: str, prompt: str) -> str | None:
    listed = options(prompt) if prompt else {}
    marked = last_mark(text)
    found = text.strip()[-_TAIL:] if marked is None else marked.content
    if not found:
        return None
    clean = tidy(delatex(plain(found)))
    labels = choices.labels(clean)
    if labels is None:
        label = named(clean, listed) or stated_label(clean, listed)
        labels = None if label is None else (label,)
    if labels is None:
        # Without a list of options, the text of an option is as good an answer as its label.
        return found if marked is not None and not listed else None
    if listed and not set(labels) <= set(listed):
        return None
    return ", ".join(labels)


def _yesno(text: str, prompt: str) -> str | None:
    marked = last_mark(text)
    found = text.strip()[-_TAIL:] if marked is None else marked.content
    if not found:
        return None
    decision = choices.yes_or_no(tidy(delatex(plain(found))), asked=True)
    if decision is None:
        decision = stated_yes_or_no(found)
    return None if decision is None else ("yes" if decision else "no")


def _text(text: str, prompt: str) -> str | None:
    marked = last_mark(text)
    return text.strip() if marked is None else marked.content


def _json(text: str, prompt: str) -> str | None:
    found = last_object(text)
    if found is NOTHING:
        return None
    if isinstance(found, dict):
        found = next((found[name] for name in FIELDS if name in found), found)
    if found is None or found == "":
        return None
    return json.dumps(found, sort_keys=True, ensure_ascii=False)


_KINDS: Mapping[str, Callable[[str, str], str | None]] = {
    "auto": _auto,
    "boxed": _boxed,
    "number": _number,
    "choice": _choice,
    "yesno": _yesno,
    "text": _text,
    "json": _json,
}


def _without_end_tokens(text: str) -> str:
    for _ in range(20):
        text = text.rstrip()
        tail = _END_TOKEN.search(text[-40:])
        if tail is None:
            break
        text = text[: -len(tail[0])]
    return text


def _after_reasoning(text: str) -> str | None:
    """What follows `</think>`; None if the reasoning never ends."""
    if "<think>" not in text and "</think>" not in text:
        return text
    _, closed, rest = text.rpartition("</think>")
    return rest if closed and "<think>" not in rest else None


def _unmarked(text: str) -> str | None:
    """The answer of a response without any mark."""
    whole = text.strip()
    if not whole:
        return None
    lines = [line for line in whole.splitlines() if line.strip()]
    for candidate in (whole, lines[-1]):
        clean = tidy(candidate.replace("**", ""))
        if clean and _is_value(clean):
            return clean
    if not any(map(str.isdigit, whole)):
        return tidy(whole) or whole
    return last_number(whole) or whole


def _is_value(text: str) -> bool:
    """Whether an answer is more than text."""
    if len(text) > 500:
        return False
    key = canonical(text)
    # None: a number too large to hold is a value too, and abstains in the vote.
    return key is None or key[0] not in ("text", "latex")
