"""What the writer is asked: pictures, an example or none, a request in the question's language.

Example questions and the majority's answers to them are data: they stand between lines, without
marks that a model or a chat template would read as pictures or turns.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mmupt.asking.prompt import IMAGE_MARK
from mmupt.synthesis.language import Language
from mmupt.words import texts

# What a tokenizer, or a page, may read as more than letters: tags, pipes in brackets.
TEMPLATE = re.compile(
    r"<\|[^<>]{0,60}|\|>|</?[A-Za-z_][\w.:/|-]{1,60}(?:\s[^<>=]{1,40}=[^<>]{0,200})?>"
    r"|\[/?INST\]|<</?SYS>>|<[/|]?s>",
    re.IGNORECASE,
)
_FENCE = re.compile(r"^\s*-{3,}\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Example:
    """A question about the pictures, and the majority's answer to it, None where there is none."""

    question: str
    answer: str | None


@dataclass(frozen=True, slots=True)
class Request:
    """What is wanted of the writer.

    Attributes:
        pictures: number of pictures.
        language: to write in.
        kind: `choice`, `number`, `free`, or `any`.
        difficulty: `plain`, `easier` or `harder`.
        example: None: directly from the pictures.
        brief: nothing but the request itself, for a writer that was taught what to do with it.
    """

    pictures: int
    language: Language | None
    kind: str = "any"
    difficulty: str = "plain"
    example: Example | None = None
    brief: bool = False


def writing_prompt(request: Request) -> str:
    """The text of a request, with one ``<image>`` mark per picture in front."""
    words = texts("mmupt.synthesis", "ja" if request.language == "ja" else "en")
    named = words["write.picture" if request.pictures == 1 else "write.pictures"]
    if request.brief:
        return IMAGE_MARK * request.pictures + words["write.direct"].format(pictures=named)
    example = request.example
    parts = [words["write.direct"] if example is None else words["write.another"]]
    parts.append(words["write.alone"])
    if request.kind != "any":
        parts.append(words[f"write.kind.{request.kind}"])
    if request.difficulty != "plain":
        parts.append(words[f"write.difficulty.{request.difficulty}"])
    parts.append(words["write.data.direct" if example is None else "write.data"])
    foreign = request.language not in ("en", "ja", None) and example is not None
    parts.append(words["write.only.latin" if foreign else "write.only"])
    joint = "" if request.language == "ja" else " "
    asked = joint.join(parts).format(pictures=named)
    return IMAGE_MARK * request.pictures + _shown(example, named, request.language) + asked


def _shown(example: Example | None, pictures: str, language: Language | None) -> str:
    """The example between its lines."""
    if example is None:
        return ""
    words = texts("mmupt.synthesis", "ja" if language == "ja" else "en")
    key = "write.in-context" if example.answer else "write.in-context.unanswered"
    # One pass: braces within the example are no places to fill.
    return words[key].format(
        pictures=pictures,
        question=as_material(example.question),
        answer=as_material(example.answer or ""),
    )


def as_material(text: str) -> str:
    """A text of the data or of a model, to be quoted within a prompt.

    Marks of pictures and of templates fall away, lines that would close the quotation too.
    """
    before = None
    while before != text:  # what is left around a mark may make another one
        before, text = text, _FENCE.sub("", TEMPLATE.sub("", text.replace(IMAGE_MARK, "")))
    return text.strip()
