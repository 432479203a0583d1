"""What a figure must be read with."""

from __future__ import annotations

import platform
from typing import Any

from mmupt.config import Config
from mmupt.policy.model import pick_device
from mmupt.version import __version__


def about(config: Config) -> dict[str, Any]:
    """What a figure must be read with: seed, device and versions."""
    import torch
    import transformers

    versions = {
        "mmupt": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    device = str(pick_device(config.model.device))
    return {"seed": config.seed, "device": device, "versions": versions}
