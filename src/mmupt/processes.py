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
from collections.abc import Callable, Iterable, Iterator, Sequence
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
        import torch
        import torch.distributed as dist

        trained = list(parameters)
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
        for bucket in _buckets(gradients):
            flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
            with _meeting():
                dist.all_reduce(flat)
            parts = torch.split(flat, [gradient.numel() for gradient in bucket])
            for gradient, part in zip(bucket, parts, strict=True):
                gradient.copy_(part.view_as(gradient))


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
