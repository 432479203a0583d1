r"""The final answer of a response.

Marked answers come first: the last `\boxed{}`, `<answer>` tags, `The answer is ...`. An answer that
was begun and not finished (an open box, an open tag, reasoning that never ends) abstains, because
the response was cut off. What the response repeats of its prompt does not count.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping

from mmupt.consensus import choices
from mmupt.consensus.boxes import Mark, boxes
from mmupt.consensus.canonical import canonical
from mmupt.consensus.echo import without_copies, without_echo
from mmupt.consensus.options import named, options
from mmupt.consensus.quantities import quantity
from mmupt.consensus.writing import delatex, plain
from mmupt.errors import ConfigError

MAX_RESPONSE = 1_000_000
"""Longer responses abstain (characters)."""
_MAX_TRIES = 64
_MAX_SENTENCE = 5000
_TAIL = 4000

_END_TOKEN = re.compile(r"(?:<\|[a-z_]{1,30}\|>|</s>|<eos>|<end_of_turn>|<end_of_utterance>)$")
_ANSWER_OPEN = re.compile(r"<answer>", re.IGNORECASE)
_ANSWER_CLOSE = re.compile(r"</answer>", re.IGNORECASE)
_PHRASE = re.compile(
    r"\banswer\*{0,2}\s{0,3}(?:is|are|was|would be|should be|must be|=|:|：)\*{0,2}\s{0,3}[:：]?"
    r"|(?:答え?|解答|回答|正解)\*{0,2}\s{0,3}(?:は|:|：|=|＝)\*{0,2}|####",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"。|[.!](?=\s|$)|[\r\n]")
_ABBREVIATION = re.compile(
    r"^\s?[A-Za-z]$|(?:^|[\s(])(?:approx|no|vs|ca|st|mr|mrs|dr)$", re.IGNORECASE
)
_POLITE = re.compile(
    r"(?:(?:です|である|でした|になります|となります)(?:ね|よ)?|(?<=[0-9０-９A-Za-z個円度%])だ)$"
)
_NUMBER = re.compile(
    r"(?<![A-Za-z0-9_.])[-+−]?[$¥€£]?\s?(?:\d{1,3}(?:,\d{3})+|\d{1,100})(?:\.\d{1,100})?"
    r"(?:/\d{1,100})?(?:\s?[A-Za-zμΩ°%‰℃]{1,8}(?:\^?[23²³])?(?:/[A-Za-z]{1,4}\^?[23²³]?)?|[一-龯ァ-ヶー]{1,8})?"
)
_BARE_NUMBER = re.compile(r"[-+−]?(?:\d{1,3}(?:,\d{3})+|\d{1,100})(?:\.\d{1,100})?(?:/\d{1,100})?")
_FIELDS = ("answer", "final_answer", "final answer", "Answer", "result", "答え", "解答", "回答")


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
    if not _has_mark(prompt):
        return own
    kept = without_copies(own, (boxes(own), _tags(own), _phrases(own)), prompt)
    # Nothing but dots and brackets around what was copied: no answer of its own.
    return kept if kept == own or any(map(str.isalnum, kept)) else ""


def _has_mark(text: str) -> bool:
    return "box" in text or _ANSWER_OPEN.search(text) is not None or bool(_PHRASE.search(text))


def _boxed(text: str, prompt: str) -> str | None:
    box = next(boxes(text), None)
    return None if box is None else box.content


def _auto(text: str, prompt: str) -> str | None:
    marked = _marked(text)
    found = marked.content if marked else _answer_field(text) or _unmarked(text)
    if found and prompt and (label := named(found, options(prompt))) is not None:
        return label
    return found


def _number(text: str, prompt: str) -> str | None:
    marked = _marked(text)
    found = text.strip() if marked is None else marked.content
    if not found:
        return None
    if _is_value(found):
        return found
    return _last_number(found)


def _choice(text: str, prompt: str) -> str | None:
    listed = options(prompt) if prompt else {}
    marked = _marked(text)
    found = text.strip()[-_TAIL:] if marked is None else marked.content
    if not found:
        return None
    clean = _tidy(delatex(plain(found)))
    labels = choices.labels(clean)
    if labels is None:
        label = named(clean, listed) or _stated_label(clean, listed)
        labels = None if label is None else (label,)
    if labels is None:
        # Without a list of options, the text of an option is as good an answer as its label.
        return found if marked is not None and not listed else None
    if listed and not set(labels) <= set(listed):
        return None
    return ", ".join(labels)


def _yesno(text: str, prompt: str) -> str | None:
    marked = _marked(text)
    found = text.strip()[-_TAIL:] if marked is None else marked.content
    if not found:
        return None
    decision = choices.yes_or_no(_tidy(delatex(plain(found))), asked=True)
    if decision is None:
        decision = choices.stated_yes_or_no(found)
    return None if decision is None else ("yes" if decision else "no")


def _text(text: str, prompt: str) -> str | None:
    marked = _marked(text)
    return text.strip() if marked is None else marked.content


def _json(text: str, prompt: str) -> str | None:
    found = _last_object(text)
    if found is _NOTHING:
        return None
    if isinstance(found, dict):
        found = next((found[name] for name in _FIELDS if name in found), found)
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


def _marked(text: str) -> Mark | None:
    """The last answer by its mark, boxes and tags before phrases; None if there is no mark.

    A mark without content (empty, or never closed) is a mark: the response abstains.
    """
    box, tag = next(boxes(text), None), next(_tags(text), None)
    if box is not None and (tag is None or box.start > tag.start):
        return box
    return tag or next(_phrases(text), None)


def _tags(text: str) -> Iterator[Mark]:
    """The `<answer>` tags, the last one first."""
    for opening in reversed(list(_ANSWER_OPEN.finditer(text))):
        closing = _ANSWER_CLOSE.search(text, opening.end())
        if closing is None:
            yield Mark(opening.start(), None, len(text))
        else:
            content = text[opening.end() : closing.start()].strip()
            yield Mark(opening.start(), content, closing.end())


def _phrases(text: str) -> Iterator[Mark]:
    """`The answer is ...`, up to the end of its sentence, the last one first."""
    for match in reversed(list(_PHRASE.finditer(text))):
        rest = text[match.end() : match.end() + _MAX_SENTENCE].lstrip(" \t:：")
        sentence = _first_sentence(rest.lstrip())
        end = text.find(sentence, match.end()) + len(sentence)
        yield Mark(match.start(), _tidy(sentence), end)


def _first_sentence(text: str) -> str:
    for match in _SENTENCE_END.finditer(text):
        before = text[: match.start()]
        if match[0] == "." and _ABBREVIATION.search(before[-12:]):
            continue  # `B. 12 cm`, `approx. 5`
        if before.strip():
            return before
    return text


def _tidy(text: str) -> str:
    """Without the quotes, emphasis, closing dots and polite endings around an answer."""
    before = None
    while before != text:
        before = text
        text = text.strip().strip('*`"“”「」').rstrip(".。、,;!！")
        if text.count("$") == 2 and text.startswith("$") and text.endswith("$"):
            text = text[1:-1]
        text = _POLITE.sub("", text)
    return text


def _unmarked(text: str) -> str | None:
    """The answer of a response without any mark."""
    whole = text.strip()
    if not whole:
        return None
    lines = [line for line in whole.splitlines() if line.strip()]
    for candidate in (whole, lines[-1]):
        tidy = _tidy(candidate.replace("**", ""))
        if tidy and _is_value(tidy):
            return tidy
    if not any(map(str.isdigit, whole)):
        return _tidy(whole) or whole
    return _last_number(whole) or whole


def _is_value(text: str) -> bool:
    """Whether an answer is more than text."""
    if len(text) > 500:
        return False
    key = canonical(text)
    # None: a number too large to hold is a value too, and abstains in the vote.
    return key is None or key[0] not in ("text", "latex")


def _last_number(text: str) -> str | None:
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


_STATED = re.compile(
    r"\b(?:option|choice|select|choose|選択肢)\s{0,3}:?\s{0,3}[(\[]?([A-Ja-j])\b"
    r"|[(\[]([A-J])[)\]]|(?:^|\n)\s{0,8}([A-J])[.):]|(?<![A-Za-z'])([B-HJ])(?![A-Za-z'])"
    r"|(?<![A-Za-z'])(A)(?=\s{0,3}(?:[.,;:)]|$))|([アイウエオ])(?=[がでをはの、。]|$)",
    re.IGNORECASE | re.MULTILINE,
)


_REFUSED = re.compile(r"(?:\bnot|n't|instead of|rather than)\s{0,3}[(\[A-Z]?$", re.IGNORECASE)


def _stated_label(text: str, listed: Mapping[str, str]) -> str | None:
    """The last label that a sentence names, or the only option whose text it contains."""
    last = None
    for match in _STATED.finditer(text):
        label = next(group for group in match.groups() if group)
        explicit = match[1] is not None
        if _REFUSED.search(text[max(0, match.start() - 16) : match.start() + 1]):
            continue
        if (explicit or not label.islower()) and (not listed or label.upper() in listed):
            last = label.upper()
    if last is not None:
        return last
    folded = text.casefold()
    hits = [label for label, option in listed.items() if option and option.casefold() in folded]
    return hits[0] if len(hits) == 1 else None


_NOTHING = object()
_FENCE = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL | re.IGNORECASE)
_DECODER = json.JSONDecoder(parse_constant=lambda constant: _refuse(constant))


def _refuse(constant: str) -> object:
    raise ValueError(constant)


def _answer_field(text: str) -> str | None:
    """The answer field of a response that is a JSON object, as text."""
    stripped = text.strip()
    if not stripped.startswith(("{", "```")):
        return None
    found = _last_object(stripped)
    if not isinstance(found, dict):
        return None
    value = next((found[name] for name in _FIELDS if name in found), None)
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _last_object(text: str) -> object:
    """The last JSON object or array of a text, `_NOTHING` if there is none."""
    stripped = text.strip()
    fenced = _FENCE.findall(stripped)
    for candidate in (*reversed(fenced[-4:]), stripped):
        found = _decode(candidate.strip(), 0)
        if found is not None and not candidate.strip()[found[1] :].strip():
            return found[0]
    last: object = _NOTHING
    position = tries = 0
    while tries < _MAX_TRIES:
        starts = [at for sign in "{[" if (at := stripped.find(sign, position)) >= 0]
        if not starts:
            break
        tries += 1
        found = _decode(stripped, min(starts))
        if found is None:
            position = min(starts) + 1
        else:
            last, position = found
    return last


def _decode(text: str, start: int) -> tuple[object, int] | None:
    """A JSON value at a position and where it ends."""
    try:
        return _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
