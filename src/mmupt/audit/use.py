"""What training takes from an audit: labels to leave out, answers that people know. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mmupt.audit.records import NewItem
from mmupt.audit.verdicts import Resolution


def quarantined(items: Iterable[NewItem], resolutions: Mapping[str, Resolution]) -> frozenset[str]:
    """Ids of the samples whose pseudo-label people rejected.

    Args:
        items: of one audit.
        resolutions: of the same audit, by unit.
    """
    return frozenset(item.sample_id for item in items if _state(item, resolutions) == "wrong")


def anchors(
    items: Iterable[NewItem], resolutions: Mapping[str, Resolution], *, accepted: bool = False
) -> dict[str, str]:
    """The right answer by sample id, where people know it.

    A sample that came out of the audit with two different answers is left out.

    Args:
        items: of one audit.
        resolutions: of the same audit, by unit.
        accepted: also the pseudo-labels that people accepted; else corrected ones alone.
    """
    found: dict[str, set[str]] = {}
    for item in items:
        resolution = resolutions.get(item.unit)
        if resolution is None:
            continue
        if resolution.state == "wrong" and resolution.answer is not None:
            found.setdefault(item.sample_id, set()).add(resolution.answer)
        elif resolution.state == "right" and accepted:
            found.setdefault(item.sample_id, set()).add(item.pseudo_label)
    return {sample: answers.pop() for sample, answers in found.items() if len(answers) == 1}


def _state(item: NewItem, resolutions: Mapping[str, Resolution]) -> str:
    resolution = resolutions.get(item.unit)
    return "open" if resolution is None else resolution.state
