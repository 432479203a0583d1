"""Which version serves after a promotion, a withdrawal or a rollback. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Literal, get_args

from mmupt.config_supervision import Rollout
from mmupt.errors import ConfigError, DatabaseError, RefusedError

Kind = Literal["register", "challenger", "promote", "raise", "withdraw", "rollback", "nothing"]

ROLLOUTS: tuple[Rollout, ...] = get_args(Rollout)
"""From the smallest to the largest."""
FRACTIONS: dict[Rollout, float] = {"shadow": 0.0, "5%": 0.05, "25%": 0.25, "100%": 1.0}
"""Share of the requests that a challenger answers."""


@dataclass(frozen=True, slots=True)
class State:
    """Where the aliases point.

    Attributes:
        champion: the version that serves.
        challenger: the version beside it: one that is being examined, or introduced.
        rollout: how far the challenger is introduced; None: it serves nobody yet.
        previous: the champion before, which a rollback restores.
    """

    champion: str | None = None
    challenger: str | None = None
    rollout: Rollout | None = None
    previous: str | None = None

    @property
    def fraction(self) -> float:
        """Share of the requests that the challenger answers, 0 to 1."""
        return FRACTIONS[self.rollout] if self.rollout else 0.0

    @property
    def aliases(self) -> dict[str, str]:
        """Version by alias; an alias that points nowhere is left out."""
        named = {
            "champion": self.champion,
            "challenger": self.challenger,
            "previous": self.previous,
        }
        return {alias: version for alias, version in named.items() if version is not None}

    @property
    def json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True, slots=True)
class Move:
    """What a move does.

    Attributes:
        kind: `nothing` where all was so already.
        version: the version it is about.
        before, after: where the aliases point.
        text: in one sentence.
    """

    kind: Kind
    version: str
    before: State
    after: State
    text: str

    @property
    def changed(self) -> bool:
        return self.before != self.after


def promote(state: State, name: str, rollout: str) -> Move:
    """Let a version serve, or a share of the requests.

    Raises:
        ConfigError: no such rollout.
        RefusedError: a share lower than now, beside a version that is being introduced, or
            without a champion that serves the rest.
    """
    wanted = checked_rollout(rollout)
    if name == state.champion:
        text = f"{name} is the champion already; nothing has changed"
        return Move("nothing", name, state, state, text)
    introduced = state.rollout if name == state.challenger else None
    if introduced:
        step = ROLLOUTS.index(wanted) - ROLLOUTS.index(introduced)
        if step == 0:
            text = f"{name} is at {wanted} already; nothing has changed"
            return Move("nothing", name, state, state, text)
        if step < 0:
            raise RefusedError(
                f"{name} is at {introduced} and is not lowered to {wanted}; withdraw it with "
                f"`mmupt rollback`, then promote it at {wanted}"
            )
    kind: Kind = "raise" if introduced else "promote"
    if wanted == "100%":
        was = f"before: {state.champion}" if state.champion else "the first one"
        kept = state.challenger != name
        after = State(
            champion=name,
            challenger=state.challenger if kept else None,
            rollout=state.rollout if kept else None,
            previous=state.champion or state.previous,
        )
        return Move(kind, name, state, after, f"{name} is the champion now ({was})")
    if state.champion is None:
        raise RefusedError(
            f"{name} cannot start at {wanted}: there is no champion that serves the rest; "
            "promote it at 100%"
        )
    if state.rollout and not introduced:
        raise RefusedError(
            f"{state.challenger} is being introduced at {state.rollout}; promote it at 100%, or "
            f"withdraw it with `mmupt rollback`, before {name} is introduced"
        )
    after = replace(state, challenger=name, rollout=wanted)
    share = (
        f"is asked beside {state.champion}, which serves"
        if wanted == "shadow"
        else f"serves {wanted} of the requests, {state.champion} the rest"
    )
    return Move(kind, name, state, after, f"{name} {share}")


def challenge(state: State, name: str | None) -> Move:
    """Name the version that is being examined beside the champion, or none; it serves nobody.

    Raises:
        RefusedError: it is the champion, or another version is being introduced.
    """
    if state.challenger == name:
        where = f"{name} is the challenger" if name else "there is no challenger"
        return Move("nothing", name or "", state, state, f"{where} already; nothing has changed")
    if state.rollout is not None:
        raise RefusedError(
            f"{state.challenger} is being introduced at {state.rollout}; promote it at 100%, or "
            "withdraw it with `mmupt rollback`, before the challenger is another"
        )
    if name is not None and name == state.champion:
        raise RefusedError(f"{name} is the champion; a challenger is another version")
    after = replace(state, challenger=name)
    text = f"{name} is the challenger now" if name else f"{state.challenger} challenges no more"
    return Move("challenger", name or state.challenger or "", state, after, text)


def withdraw(state: State) -> Move:
    """Take the challenger away; the champion serves alone.

    Raises:
        RefusedError: there is no challenger.
    """
    if state.challenger is None:
        raise RefusedError("there is no challenger to withdraw; see `mmupt models`")
    after = replace(state, challenger=None, rollout=None)
    text = f"{state.challenger} is withdrawn; {state.champion or 'nothing'} serves alone"
    return Move("withdraw", state.challenger, state, after, text)


def rollback(state: State) -> Move:
    """Undo the last step: withdraw what is being introduced, or restore the champion before.

    Champion and previous change places, so that a second rollback undoes the first.

    Raises:
        RefusedError: there is nothing to go back to.
    """
    if state.rollout is not None:
        return withdraw(state)
    if state.champion is None or state.previous is None:
        raise RefusedError(
            f"there is no version before {state.champion or 'the first champion'} to go back to"
        )
    after = replace(state, champion=state.previous, previous=state.champion)
    if after.champion == after.challenger:
        after = replace(after, challenger=None)
    text = f"{after.champion} is the champion again, instead of {state.champion}"
    return Move("rollback", state.previous, state, after, text)


def checked_rollout(value: str) -> Rollout:
    """Raises ConfigError: no such rollout."""
    for rollout in ROLLOUTS:
        if rollout == value:
            return rollout
    raise ConfigError(f"rollout {value[:40]!r} is unknown; expected one of {', '.join(ROLLOUTS)}")


def read_state(text: str) -> State:
    """The state of a text that `State.json` gave.

    Raises:
        DatabaseError: it is no such text.
    """
    try:
        value = json.loads(text)
        if value.keys() != asdict(State()).keys():
            raise ValueError
        if not all(part is None or isinstance(part, str) for part in value.values()):
            raise ValueError
        return State(**value)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DatabaseError(f"state {text[:80]!r} is not one of mmupt's") from error
