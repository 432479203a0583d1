"""The public names, and that they do what the first example says."""

from __future__ import annotations

import pytest

import mmupt


def test_public_names_are_pinned() -> None:
    assert mmupt.__all__ == [
        "Completion", "Finish", "LabelledSample", "Sample", "Vote", "__version__", "extract", "partition", "vote",
    ]  # fmt: skip
    for name in mmupt.__all__:
        assert getattr(mmupt, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'magic'"):
        _ = mmupt.magic


def test_extract_partition_vote() -> None:
    answers = [
        mmupt.extract(text)
        for text in (r"so \boxed{\frac{1}{2}}", r"\boxed{0.5}", r"\boxed{2}", r"\boxed{")
    ]
    assert mmupt.partition(answers) == [0, 0, 1, None]
    vote = mmupt.vote(answers)
    assert (vote.share, vote.tied, vote.rewards) == (0.5, False, (1.0, 1.0, 0.0, 0.0))
