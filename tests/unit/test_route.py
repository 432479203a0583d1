"""Which version answers a request: worked out apart, and the same everywhere."""

from __future__ import annotations

import hashlib
from fractions import Fraction

import pytest

from mmupt.errors import ConfigError, InputError
from mmupt.registry.route import Route, position, route

SALT = "ab" * 32


def place(key: str, salt: str) -> Fraction:
    """As docs/registry.md says it, in exact arithmetic."""
    inner = hashlib.sha256(salt.encode()).digest()
    bits = "".join(f"{byte:08b}" for byte in hashlib.sha256(inner + key.encode()).digest())
    return Fraction(int(bits[:53], 2), 2**53)


@pytest.mark.parametrize("key", ["a", "user-17", "利用者", "x" * 4096, "a\nb"])
def test_places_are_those_of_the_documented_formula(key: str) -> None:
    assert Fraction(position(key, SALT)) == place(key, SALT)


def test_places_never_change() -> None:
    """Published: other programs may route by themselves, and a release must not move users."""
    assert [round(position(key, SALT), 6) for key in ("user-1", "user-2", "user-3")] == [
        0.029501,
        0.143037,
        0.000972,
    ]


def test_below_the_fraction_meets_the_challenger() -> None:
    for i in range(2000):
        key = f"user-{i}"
        for rollout, share in (("5%", Fraction(1, 20)), ("25%", Fraction(1, 4))):
            expected = "new" if place(key, SALT) < share else "old"
            assert route(key, "old", "new", rollout, SALT) == Route(expected)


def test_the_champion_serves_where_nothing_is_introduced() -> None:
    assert route("k", "old", None, None, SALT) == Route("old")
    assert route("k", "old", "new", None, SALT) == Route("old")
    assert route("k", "old", None, "25%", SALT) == Route("old")
    assert route("k", "old", "new", "shadow", SALT) == Route("old", shadow="new")
    assert route("k", "old", "new", "100%", SALT) == Route("new")


def test_salt_and_key_do_not_run_into_each_other() -> None:
    assert position("bc", "a") != position("c", "ab")


@pytest.mark.parametrize("key", ["", "x" * 4097])
def test_keys_that_are_none(key: str) -> None:
    with pytest.raises(InputError, match="expected 1 to 4,096"):
        route(key, "old", "new", "5%", SALT)


def test_no_such_rollout() -> None:
    with pytest.raises(ConfigError, match="'6%' is unknown"):
        route("k", "old", "new", "6%", SALT)
