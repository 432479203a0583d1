"""What holds in the registry whatever happens, and for routes whatever the keys."""

from __future__ import annotations

import json
import math
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmupt.errors import DatabaseError, RefusedError
from mmupt.registry.manifest import Entry, Manifest, read_manifest
from mmupt.registry.moves import ROLLOUTS, State, read_state
from mmupt.registry.route import position, route
from mmupt.registry.store import Registry
from mmupt.registry.versions import Lineage, Version, read_lineage

TEXT = st.text(min_size=1, max_size=30)
SHARE = {"shadow": 0, "5%": 5, "25%": 25, "100%": 100}


@given(TEXT, TEXT)
def test_a_key_that_met_the_challenger_stays_with_it(key: str, salt: str) -> None:
    assert 0 <= position(key, salt) < 1
    serves = [route(key, "old", "new", rollout, salt).serves for rollout in ROLLOUTS]
    assert serves == sorted(serves, key=["old", "new"].index)  # old ... old new ... new
    assert (serves[0], serves[-1]) == ("old", "new")
    assert serves == [route(key, "old", "new", rollout, salt).serves for rollout in ROLLOUTS]


@given(st.integers(0, 10**9), st.sampled_from(["5%", "25%"]))
@settings(max_examples=40)
def test_the_share_of_keys_is_the_fraction(first: int, rollout: str) -> None:
    """Within six standard deviations of a binomial; the next keys are as good as random ones."""
    n, p = 2000, SHARE[rollout] / 100
    salt = f"salt-{first}"
    hits = sum(route(str(first + i), "old", "new", rollout, salt).serves == "new" for i in range(n))
    assert abs(hits - n * p) < 6 * math.sqrt(n * p * (1 - p))


def test_another_introduction_meets_other_keys_first() -> None:
    """Of the 5% of one salt, another salt takes about 5% again, not all."""
    keys = [str(i) for i in range(20_000)]
    first = [key for key in keys if position(key, "one") < 0.05]
    both = sum(position(key, "two") < 0.05 for key in first)
    assert abs(both - 0.05 * len(first)) < 6 * math.sqrt(len(first) * 0.05 * 0.95)


ENTRIES = st.lists(
    st.builds(
        Entry,
        st.text(min_size=1, max_size=20).filter(
            lambda p: not p.startswith("/") and ".." not in p.split("/") and "\0" not in p
            and p.strip("./") != ""
        ),
        st.integers(0, 2**50),
        st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
    ),
    max_size=5,
).map(lambda entries: Manifest(tuple(entries)))  # fmt: skip


@given(ENTRIES, ENTRIES)
def test_manifests_come_back_and_differ_in_their_digests(one: Manifest, other: Manifest) -> None:
    assert read_manifest(one.json) == one
    assert (one.digest == other.digest) == (one == other)


@given(st.text(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
).map(json.dumps))  # fmt: skip
def test_hostile_texts_are_refused_in_one_way(text: str) -> None:
    for read in (read_manifest, read_state, read_lineage):
        with pytest.raises(DatabaseError):
            read(text)


@dataclass
class Model:
    """The registry's rules once more, with a plain dict: verdicts by version."""

    verdicts: dict[str, str]
    champion: str = "base"
    challenger: str | None = None
    rollout: str | None = None
    previous: str | None = None

    def promote(self, name: str, rollout: str) -> None:
        if name == self.champion:
            return
        share = SHARE[rollout]
        if name == self.challenger and self.rollout is not None:
            if share == SHARE[self.rollout]:
                return
            if share < SHARE[self.rollout]:
                raise RefusedError
        elif share < 100 and self.rollout is not None:
            raise RefusedError
        if self.verdicts.get(name) != "pass":
            raise RefusedError
        if share < 100:
            self.challenger, self.rollout = name, rollout
            return
        if name == self.challenger:
            self.challenger = self.rollout = None
        self.champion, self.previous = name, self.champion

    def challenge(self, name: str | None) -> None:
        if name == self.challenger:
            return
        if self.rollout is not None or name == self.champion:
            raise RefusedError
        self.challenger = name

    def withdraw(self) -> None:
        if self.challenger is None:
            raise RefusedError
        self.challenger = self.rollout = None

    def rollback(self) -> None:
        if self.rollout is not None:
            self.withdraw()
            return
        if self.previous is None:
            raise RefusedError
        self.champion, self.previous = self.previous, self.champion
        if self.challenger == self.champion:
            self.challenger = None


NAMES = ("base", "r1", "r2", "r3")
STEP = st.one_of(
    st.tuples(st.just("promote"), st.sampled_from(NAMES), st.sampled_from(ROLLOUTS)),
    st.tuples(st.just("decide"), st.sampled_from(NAMES), st.sampled_from(["pass", "fail"])),
    st.tuples(st.just("challenge"), st.sampled_from((*NAMES, None)), st.just("")),
    st.tuples(st.just("rollback"), st.none(), st.just("")),
    st.tuples(st.just("withdraw"), st.none(), st.just("")),
)


@given(st.lists(STEP, max_size=14))
@settings(max_examples=60)
def test_moves_are_those_of_a_plain_model(steps: list[tuple[str, str | None, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        registry = _project(Path(folder))
        model = Model({"r1": "pass", "r2": "pass"})
        for what, name, value in steps:
            expected = _outcome(lambda w=what, n=name, v=value: _model(model, w, n, v))
            actual = _outcome(lambda w=what, n=name, v=value: _real(registry, w, n, v))
            assert actual == expected, (what, name, value)
            state = registry.current()
            assert state == State(
                model.champion,
                model.challenger,
                model.rollout,
                model.previous,  # type: ignore[arg-type]
            )
            assert len({state.champion, state.challenger, "-"}) == 3 or state.challenger is None
        history = registry.history()
        assert all(one.after == next_.before for one, next_ in pairwise(history))
        assert history[-1].after == registry.current()
        for past in history:
            if past.kind in ("promote", "raise") and past.version != "base":
                assert past.decision is not None


def _project(folder: Path) -> Registry:
    registry = Registry(folder / "project.db")
    for name in NAMES:
        (folder / name).mkdir()
        manifest = Manifest((Entry("w", 0, name.encode().hex().rjust(64, "0")),))
        (folder / name / "w").touch()
        lineage = Lineage(None if name == "base" else "base", name)
        registry.register(Version(name, name, manifest, "", lineage))
    registry.promote("base", "100%", by="", reason="", require_decision=False)
    for name in ("r1", "r2"):
        registry.add_decision(name, "pass", "{}", "")
    return registry


def _outcome(act: object) -> bool:
    """Whether it was refused."""
    assert callable(act)
    try:
        act()
    except RefusedError:
        return True
    return False


def _model(model: Model, what: str, name: str | None, value: str) -> None:
    if what == "promote":
        assert name is not None
        model.promote(name, value)
    elif what == "decide":
        assert name is not None
        model.verdicts[name] = value
    elif what == "challenge":
        model.challenge(name)
    elif what == "rollback":
        model.rollback()
    else:
        model.withdraw()


def _real(registry: Registry, what: str, name: str | None, value: str) -> None:
    if what == "promote":
        assert name is not None
        registry.promote(name, value, by="", reason="")
    elif what == "decide":
        assert name is not None
        registry.add_decision(name, value, "{}", "")
    elif what == "challenge":
        registry.set_challenger(name)
    elif what == "rollback":
        registry.rollback(by="", reason="")
    else:
        registry.withdraw(by="", reason="")
