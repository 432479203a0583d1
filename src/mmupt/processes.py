"""The processes that train together: one by default, several under `mmupt launch`.

Groups never straddle processes: each process rolls out, votes on and scores whole groups, and only
results cross over - answers, rewards, figures, and sums of gradients. What has to be the same
everywhere is decided by the main process and told to the others.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from mmupt.errors import ProcessError

if TYPE_CHECKING:
    import torch
    from torch import nn

T = TypeVar("T")

EXPECTED = "MMUPT_PROCESSES"
"""Environment variable in which the launcher says how many processes it starts."""

BUCKET_BYTES = 25 * 1024 * 1024
"""Gradients are summed in pieces of about this size, as DistributedDataParallel does."""

PATIENCE = timedelta(hours=2)
"""Longest wait for the others. A dead process ends all of them at once; this is for a hang."""

LOST_SECONDS = 20.0
"""How long a process that has lost another waits to be ended, so that the other's error is told."""


@dataclass(frozen=True)
class Processes:
    """This process among `count` equal ones; with one, every method gives back what it was given.

    Every method but `share` is a meeting: all processes have to call it, in the same order.

    Attributes:
        rank: number of this process, from 0.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def main(self) -> bool:
        """Whether this process writes events, checkpoints and models."""
        return self.rank == 0

    def share(self, total: int) -> slice:
        """Which of `total` items in a row are this process's; sizes differ by one at most."""
        return slice(total * self.rank // self.count, total * (self.rank + 1) // self.count)

    def sum(self, values: Sequence[float]) -> list[float]:
        """Each value summed over the processes, in double precision."""
        if self.count == 1:
            return list(values)
        import torch
        import torch.distributed as dist

        total = torch.tensor(list(values), dtype=torch.float64)
        with _meeting():
            dist.all_reduce(total)
        return [float(value) for value in total]

    def gather(self, value: T) -> list[T]:
        """What every process has, in the order of their ranks."""
        if self.count == 1:
            return [value]
        import torch.distributed as dist

        found: list[Any] = [None] * self.count
        with _meeting():
            dist.all_gather_object(found, value)
        return found

    def join(self, items: Sequence[T]) -> list[T]:
        """The items of all processes in the order of their ranks: undoes `share`."""
        return list(chain.from_iterable(self.gather(list(items))))

    def told(self, make: Callable[[], T]) -> T:
        """What `make` gives the main process, in all of them; the others do not call it."""
        if self.count == 1:
            return make()
        import torch.distributed as dist

        box: list[Any] = [make() if self.main else None]
        with _meeting():
            dist.broadcast_object_list(box, src=0)
        found: T = box[0]
        return found

    def wait(self) -> None:
        """Until all processes are here, so that what the main one has written is there for all."""
        self.told(lambda: None)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its sum over the processes; a missing one counts as zero.

        Where all miss it, it stays missing: an optimizer leaves such a parameter alone. Every
        process has the same sums, bit for bit.
        """
        if self.count == 1:
            return
        import torch.distributed as dist

        trained = list(parameters)
        for bucket in _buckets(self._gradients(trained)):
            flat = _flat(bucket)
            with _meeting():
                dist.all_reduce(flat)
            _unflatten(flat, bucket)

    def reduce_gradients(
        self, parameters: Sequence[nn.Parameter], owners: Sequence[int]
    ) -> list[bool]:
        """`sum_gradients`, but each sum is only in the process that owns the parameter; the others
        have no gradient of it any more.

        Args:
            owners: rank of each parameter's owner.

        Returns:
            For each parameter whether any process had a gradient.
        """
        if self.count == 1:
            return [p.grad is not None for p in parameters]
        import torch.distributed as dist

        gradients = self._gradients(parameters)
        there = [p.grad is not None for p in parameters]
        kept = [owner for owner, is_there in zip(owners, there, strict=True) if is_there]
        for rank in range(self.count):
            for bucket in _buckets(
                g for g, owner in zip(gradients, kept, strict=True) if owner == rank
            ):
                flat = _flat(bucket)
                with _meeting():
                    dist.reduce(flat, rank)
                if rank == self.rank:
                    _unflatten(flat, bucket)
        for parameter, owner in zip(parameters, owners, strict=True):
            if owner != self.rank:
                parameter.grad = None
        return there

    def hand_out(self, tensors: Sequence[torch.Tensor], owners: Sequence[int]) -> None:
        """Every process gets each tensor, in place, as its owner has it."""
        if self.count == 1:
            return
        import torch.distributed as dist

        for rank in range(self.count):
            own = (t for t, owner in zip(tensors, owners, strict=True) if owner == rank)
            for bucket in _buckets(own):
                flat = _flat(bucket)
                with _meeting():
                    dist.broadcast(flat, rank)
                _unflatten(flat, bucket)

    def collect(self, mine: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What all processes have under different names, in the main one and on the CPU; the others
        get nothing."""
        import torch
        import torch.distributed as dist

        found = {name: tensor.cpu() for name, tensor in mine.items()} if self.main else {}
        told = self.gather([(name, tuple(t.shape), t.dtype) for name, t in mine.items()])
        for rank, there in enumerate(told[1:], start=1):
            for name, shape, dtype in there:
                if rank == self.rank:
                    with _meeting():
                        dist.send(mine[name].cpu().contiguous(), 0)
                elif self.main:
                    found[name] = torch.empty(shape, dtype=dtype)
                    with _meeting():
                        dist.recv(found[name], rank)
        return found

    def _gradients(self, trained: Sequence[nn.Parameter]) -> list[torch.Tensor]:
        """Gradients of what any process has one of; where this one has none it becomes zero."""
        import torch
        import torch.distributed as dist

        there = torch.tensor([p.grad is not None for p in trained], dtype=torch.int32)
        with _meeting():
            dist.all_reduce(there)
        gradients = []
        for parameter, processes in zip(trained, there.tolist(), strict=True):
            if processes:
                if parameter.grad is None:
                    kind = getattr(parameter, "grad_dtype", None)  # float32 for bfloat16 weights
                    parameter.grad = torch.zeros_like(parameter, dtype=kind)
                gradients.append(parameter.grad)
        return gradients


ALONE = Processes()
"""One process."""


@cache
def connect() -> Processes:
    """This process and its equals, as the launcher's environment names them; without: `ALONE`.

    gloo carries what lies on the CPU, NCCL what lies on a CUDA device; each process takes the
    device of its local rank.

    Raises:
        ProcessError: not as many came up as were to be started.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return ALONE
    import torch
    import torch.distributed as dist

    _end_with_launcher()
    backend = "gloo"
    if torch.cuda.is_available() and dist.is_nccl_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
        backend = "cpu:gloo,cuda:nccl"
    with _meeting():
        dist.init_process_group(backend, timeout=PATIENCE)
    processes = Processes(dist.get_rank(), dist.get_world_size())
    different = len(set(processes.gather((socket.gethostname(), os.getpid()))))
    expected = int(os.environ.get(EXPECTED, processes.count))
    if not different == processes.count == expected:
        raise ProcessError(
            f"{expected} processes were to be started, {different} came up; start them with "
            "`mmupt launch`"
        )
    return processes


def disconnect() -> None:
    """Leave in good order; nothing to do for one process."""
    if "torch.distributed" in sys.modules:
        import torch.distributed as dist

        if dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()


def _end_with_launcher() -> None:
    """No process outlives the launcher, and Ctrl-C ends one at once, also inside a meeting."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1: PR_SET_PDEATHSIG


@contextmanager
def _meeting() -> Iterator[None]:
    """Whoever fails in a meeting fails because another is gone; that one's error is the cause."""
    try:
        yield
    except RuntimeError as error:
        time.sleep(LOST_SECONDS)  # the launcher ends this process, usually within a second
        first = str(error).strip().partition("\n")[0]
        raise ProcessError(f"lost another process, whose own message says why ({first})") from error


def _buckets(gradients: Iterable[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Gradients in their order, of one type and device each, up to `BUCKET_BYTES` together."""
    bucket: list[torch.Tensor] = []
    size = 0
    for gradient in gradients:
        own = gradient.numel() * gradient.element_size()
        kind = (gradient.dtype, gradient.device)
        if bucket and (size + own > BUCKET_BYTES or kind != (bucket[0].dtype, bucket[0].device)):
            yield bucket
            bucket, size = [], 0
        bucket.append(gradient)
        size += own
    if bucket:
        yield bucket


def _flat(bucket: Sequence[torch.Tensor]) -> torch.Tensor:
    import torch

    return torch.cat([tensor.reshape(-1) for tensor in bucket])


def _unflatten(flat: torch.Tensor, bucket: Sequence[torch.Tensor]) -> None:
    """Copy back what `_flat` took."""
    import torch

    parts = torch.split(flat, [tensor.numel() for tensor in bucket])
    for tensor, part in zip(bucket, parts, strict=True):
        tensor.copy_(part.view_as(tensor))
