"""What the configuration asks of a vote: options of `mmupt.vote`, and which votes to keep."""

from __future__ import annotations

import math
from typing import Any

from mmupt.config import ConsensusConfig
from mmupt.consensus.filters import Filters


def strategy_options(config: ConsensusConfig) -> dict[str, Any]:
    """The options of `mmupt.vote` that do not depend on the group."""
    strategy = config.strategy
    own: dict[str, Any] = {}
    match strategy.name:
        case "restrain":
            own = strategy.model_dump(exclude={"name"})
        case "prior":
            own = {"prior_floor": strategy.prior_floor}
        case "veto":
            own = {"alpha": strategy.alpha}
        case "mbr":
            own = {"threshold": strategy.threshold, "guards": strategy.guards}
    return {"kind": config.kind, "rtol": config.rtol, **own}


def filters_of(config: ConsensusConfig) -> Filters:
    low, high = config.entropy_window or (0.0, math.inf)
    return Filters(config.min_share, config.min_margin, low, high, config.easiest_fraction)
