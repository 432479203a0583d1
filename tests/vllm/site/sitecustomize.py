"""Lets torchvision be imported where its compiled operators are for another build of torch.

As in tests/conftest.py, for processes of their own: on PYTHONPATH it is imported when Python starts.
Published wheels of torchvision go with torch for CUDA; beside torch for CPUs two operators are
missing, which no image processor calls, and their schemas are enough. Where torchvision loads, or
is not wanted, nothing happens.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any


class _Operators:
    """Asked first for every module; defines the operators when torchvision is looked for."""

    library: Any = None  # the schemas live as long as this

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != "torchvision":
            return None
        sys.meta_path.remove(self)  # type: ignore[arg-type]
        found = importlib.util.find_spec(name)
        if found is not None and found.origin is not None:
            self._define(Path(found.origin).with_name("_C.so"))
        return found

    def _define(self, compiled: Path) -> None:
        import torch

        try:
            torch.ops.load_library(str(compiled))
        except OSError:
            type(self).library = torch.library.Library("torchvision", "FRAGMENT")
            for name in ("nms", "qnms"):
                type(self).library.define(
                    f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                )


sys.meta_path.insert(0, _Operators())  # type: ignore[arg-type]
