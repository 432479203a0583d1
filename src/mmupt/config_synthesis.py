"""How a model writes new questions for its own pictures, and which of them are kept."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from mmupt.config_votes import Fraction, Section
from mmupt.data.answers import is_answer_column

Positive = Annotated[int, Field(ge=1)]
QuestionKind = Literal["choice", "number", "free"]

LINEAGE = ("source_id", "mode", "model", "seed", "share", "question_kind")
"""Columns that a new question gets beside id, images and problem."""


class SynthesisConfig(Section):
    """New questions for unlabelled pictures (`mmupt synthesize`), see docs/synthesis.md."""

    mode: Literal["in-context", "direct"] = "in-context"
    """What the model is shown with a picture: a question about it and the majority's answer as an
    example, or nothing. As in MM-UPT (arXiv 2505.22453)."""
    band: tuple[Fraction, Fraction] = (0.5, 0.95)
    """Share of the majority that a new question must have, both ends included. Below are questions
    without agreement, above trivial ones."""
    language: Literal["auto", "en", "ja"] = "auto"
    """Language that is asked for and checked; `auto`: that of the source question."""
    kinds: tuple[QuestionKind, ...] | None = None
    """Kinds that are asked for, and nothing else is kept: multiple choice, a number, a word or
    short phrase. None: the example's kind, or without an example all in turn, and any is kept."""
    steer_difficulty: bool = True
    """Also ask for easier or harder questions, as often as that hits the band."""
    temperature: Annotated[float, Field(gt=0.0, le=5.0)] = 1.0
    """Temperature of the writing; the votes on what was written go by `consensus`."""
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 0.95
    max_completion_length: Positive = 256
    """Longest piece of writing in tokens; what is cut is not a question."""
    min_length: Positive = 6
    """Shortest question in characters, image marks left out."""
    max_length: Positive = 800
    """Longest question in characters."""
    known_words: bool = False
    """Refuse questions with a word that none of the data's own questions has, for writers that
    know few words and put others together of pieces."""
    near_duplicate: Annotated[float, Field(gt=0.0, le=1.0)] = 0.8
    """Questions about the same pictures are the same from this similarity on (Jaccard of character
    trigrams, articles and the like left out), unless they name other numbers or letters or say
    opposite things."""
    max_per_picture: Positive = 4
    """At most so many new questions about the same pictures."""
    attempts_per_step: Positive = 32
    """Attempts between two looks at what was kept; what is asked next depends on it."""
    blind_check: bool = False
    """Also ask each question about a blank picture, and refuse it where the answer is the same."""
    suffix: str = ""
    """Text behind every new question, such as the data's own instruction how to answer."""
    keep: tuple[str, ...] = ()
    """Columns of the source row that describe its picture and are true of every question about it,
    such as site or camera; they are copied."""

    @field_validator("band")
    @classmethod
    def _in_order(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] > value[1]:
            raise ValueError(f"[{value[0]}, {value[1]}] keeps nothing; expected [low, high]")
        return value

    @field_validator("kinds")
    @classmethod
    def _some_kind(cls, value: tuple[QuestionKind, ...] | None) -> tuple[QuestionKind, ...] | None:
        if value is not None and not value:
            raise ValueError("names no kind; expected choice, number or free, or null for any")
        return value

    @field_validator("keep")
    @classmethod
    def _may_be_copied(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if is_answer_column(name):
                raise ValueError(f"{name!r} is named like an answer and is never copied")
            if name in (*LINEAGE, "id", "problem", "image", "images", "paraphrases"):
                raise ValueError(f"{name!r} is a column that new questions have of their own")
        return value

    @field_validator("suffix")
    @classmethod
    def _is_text(cls, value: str) -> str:
        if "<image>" in value:
            raise ValueError("holds an <image> mark; marks belong in front of the question")
        return value

    @model_validator(mode="after")
    def _lengths_fit(self) -> SynthesisConfig:
        if self.min_length > self.max_length:
            raise ValueError(
                f"min_length ({self.min_length}) is above max_length ({self.max_length})"
            )
        return self
