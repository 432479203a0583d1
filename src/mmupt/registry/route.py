"""Which version answers a request while a challenger is being introduced. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from mmupt.errors import InputError
from mmupt.registry.moves import FRACTIONS, checked_rollout

MAX_KEY = 4096
"""Longest key in characters."""


@dataclass(frozen=True, slots=True)
class Route:
    """The answer for one request.

    Attributes:
        serves: the version whose answer is given.
        shadow: a version to be asked beside it, whose answer is only kept; None: none.
    """

    serves: str
    shadow: str | None = None


def route(key: str, champion: str, challenger: str | None, rollout: str | None, salt: str) -> Route:
    """The version for a key; the same for the same key, in every process and on every machine.

    A key that the challenger answers at 5% is among those it answers at 25%.

    Args:
        key: what stays together: a user, a machine, a device; not a request's own number where
            one user should always meet one version.
        champion: serves by default.
        challenger: the version that is being introduced, if any.
        rollout: `shadow`, `5%`, `25%` or `100%`; None: the challenger serves nobody.
        salt: the challenger's digest, so that each introduction meets other keys first.

    Raises:
        InputError: an empty key, or one that is too long.
        ConfigError: no such rollout.
    """
    if not key or len(key) > MAX_KEY:
        raise InputError(
            f"--id of {len(key):,} characters: expected 1 to {MAX_KEY:,}, such as a user's name"
        )
    if challenger is None or rollout is None:
        return Route(champion)
    wanted = checked_rollout(rollout)
    if wanted == "shadow":
        return Route(champion, shadow=challenger)
    return Route(challenger if position(key, salt) < FRACTIONS[wanted] else champion)


def position(key: str, salt: str) -> float:
    """Place of a key in [0, 1), uniform over keys: the first 53 bits of a SHA-256, over 2^53.

    SHA-256(SHA-256(salt) + key), both as UTF-8, so that no salt and key read as another pair. A
    fraction f takes the keys with a place below f.
    """
    inner = sha256(salt.encode("utf-8", "surrogatepass")).digest()
    digest = sha256(inner + key.encode("utf-8", "surrogatepass")).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / (1 << 53)
