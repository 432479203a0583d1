"""A teacher that is the moving average of the policy."""

from __future__ import annotations

import torch

from mmupt.policy.model import Policy


class MovingAverage:
    """teacher <- decay * teacher + (1 - decay) * policy

    Over what is trained; the rest the two share. The average is kept in float32: in bfloat16, a
    hundredth of a small difference would be rounded away.

    Attributes:
        averages: name -> float32 average; of float32 weights it is the teacher's own tensor.
    """

    def __init__(self, teacher: Policy, policy: Policy, decay: float) -> None:
        """`teacher` is a `clone` of `policy`, both as they are now, frozen parts included."""
        slow = dict(teacher.model.named_parameters())
        self._trained = {n: p for n, p in policy.model.named_parameters() if p.requires_grad}
        self._teacher = {name: slow[name].detach() for name in self._trained}
        self._decay = decay
        self.averages: dict[str, torch.Tensor] = {
            name: tensor.float() for name, tensor in self._teacher.items()
        }

    @torch.no_grad()
    def update(self) -> None:
        """Move towards the policy as it is now."""
        for name, fast in self._trained.items():
            self.averages[name].lerp_(fast.detach().float(), 1.0 - self._decay)
        self.show()

    @torch.no_grad()
    def show(self) -> None:
        """Let the teacher be the average, for one that was restored from a file."""
        for name, average in self.averages.items():
            if self._teacher[name] is not average:
                self._teacher[name].copy_(average)
