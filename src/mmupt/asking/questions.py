"""Views of a question: the same question in other words, its options in another order.

View 0 asks the problem as it stands in the data. The others ask its wordings in turn and show its
options in orders that bring every option to every place equally often; the answers of all views
are read back into the labels of the data, so that they vote in one language.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import lcm

from mmupt.consensus.canonical import canonical
from mmupt.consensus.options import listing, options
from mmupt.consensus.reorder import movable, rearranged
from mmupt.data.rows import MARK
from mmupt.data.views import ViewsConfig, generator
from mmupt.errors import InputError
from mmupt.types import Sample


@dataclass(frozen=True, slots=True)
class Question:
    """What a view asks.

    Attributes:
        problem: text with one ``<image>`` mark per picture.
        images: which picture of the sample each mark stands for, counted from 0.
        labels: label of each option as shown -> its label in the data; empty where they are the
            same.
    """

    problem: str
    images: tuple[int, ...]
    labels: Mapping[str, str] = field(default_factory=dict)


def make_question(sample: Sample, config: ViewsConfig, view: int, *key: int | str) -> Question:
    """Question number `view` of a sample; the same for the same key.

    With W wordings (the problem is the first) and K options, any W views in a row ask every wording
    once; the views 0 to K - 1, K to 2 K - 1 and so on show every option once in every place; and
    each of these rotations meets each wording within the first W K views.

    Args:
        sample: the question and its paraphrases.
        config: what views may change.
        view: 0 gives the problem itself.
        key: what the draw depends on besides the view: seed, sample id, step.

    Raises:
        InputError: the options of a paraphrase cannot be told from those of the problem.
    """
    as_it_is = Question(sample.problem, tuple(range(len(sample.images))))
    if view == 0 or not (config.paraphrase or config.shuffle_options):
        return as_it_is
    number = _wording(sample, config, view, *key)
    problem = sample.paraphrases[number - 1] if number else sample.problem
    labels = _labels(sample, number)
    plain = replace(as_it_is, problem=problem, labels=_changed(labels))
    if not config.shuffle_options or problem.count(MARK) != len(sample.images):
        return plain
    wordings = 1 + len(sample.paraphrases) if config.paraphrase else 1
    return _shuffled(plain, labels, view, wordings, *key)


def _wording(sample: Sample, config: ViewsConfig, view: int, *key: int | str) -> int:
    """Which wording a view asks: 0 is the problem, n the n-th paraphrase."""
    others = len(sample.paraphrases)
    place = view % (1 + others)
    if not config.paraphrase or place == 0:
        return 0
    return 1 + int(generator(*key, "wording").permutation(others)[place - 1])


def _shuffled(
    plain: Question, labels: Mapping[str, str], view: int, wordings: int, *key: int | str
) -> Question:
    """The question with its options in the order of a view, if they may be moved."""
    problem = plain.problem
    listed = movable(problem)
    if not listed or any(option.label not in labels for option in listed):
        return plain
    # Orders are those of the data's labels, in whatever order a paraphrase lists its options.
    ranked = sorted(range(len(listed)), key=lambda i: labels[listed[i].label])
    order = [ranked[i] for i in _order(len(listed), view, wordings, *key)]
    spans = rearranged(problem, listed, order)
    shown = "".join(problem[start:stop] for start, stop in spans)
    expected = [problem[listed[i].start : listed[i].stop] for i in order]
    if [shown[o.start : o.stop] for o in listing(shown)] != expected:
        return plain  # in its new place a text would be read as something else
    images = tuple(
        image
        for start, stop in spans
        for image in range(problem.count(MARK, 0, start), problem.count(MARK, 0, stop))
    )
    moved = {o.label: labels[listed[i].label] for o, i in zip(listed, order, strict=True)}
    return Question(shown, images, _changed(moved))


def _order(count: int, view: int, wordings: int, *key: int | str) -> list[int]:
    """Which of K options each place shows, for one view.

    Place p shows s((s^-1(p) + view) mod K) for a random permutation s: a rotation along a random
    circle, so that K views are a Latin square and no option stays where it is unless all do. s is
    drawn anew after every W K views, which are all different.
    """
    # Wordings come in turn as well; a step more after each full turn of both brings every wording
    # together with every rotation.
    turn = view + view // lcm(count, wordings)
    block = view // (count * wordings)
    circle = [int(i) for i in generator(*key, block, "options").permutation(count)]
    return [circle[(circle.index(place) + turn) % count] for place in range(count)]


def _labels(sample: Sample, number: int) -> dict[str, str]:
    """Label of each option in a wording -> its label in the problem.

    The texts decide, as they are or by what they mean. Where a paraphrase has worded them anew,
    none can be found under another label, and the labels themselves decide.
    """
    theirs = options(sample.problem)
    if number == 0:
        return {label: label for label in theirs}
    wording = sample.paraphrases[number - 1]
    ours = options(wording)
    same = {label: label for label in ours if label in theirs}
    readings = [
        (_texts(wording), _texts(sample.problem)),
        (_means(wording), _means(sample.problem)),
    ]
    for here, there in readings:
        places = {text: label for label, text in there.items()}
        if len(places) == len(there) == len(here) and set(here.values()) == set(places):
            return {label: places[text] for label, text in here.items()}
    here, there = readings[1]
    if any(there.get(label) != text and text in there.values() for label, text in here.items()):
        raise InputError(
            f"{sample.origin or sample.id}: some options of paraphrases[{number - 1}] stand under "
            "other labels than in the problem, others are worded anew; write their texts as in "
            "the problem"
        )
    return same


def _texts(problem: str) -> dict[str, object]:
    """Label -> text of an option, with the numbers of its pictures."""
    return {
        o.label: (problem[o.start : o.stop], problem.count(MARK, 0, o.start))
        if MARK in problem[o.start : o.stop]
        else problem[o.start : o.stop]
        for o in listing(problem)
    }


def _means(problem: str) -> dict[str, object]:
    """Label -> what an option means, as votes see it."""
    return {
        label: (canonical(text) or text) if isinstance(text, str) else text
        for label, text in _texts(problem).items()
    }


def _changed(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels, or nothing where each stands for itself."""
    return dict(labels) if any(a != b for a, b in labels.items()) else {}
