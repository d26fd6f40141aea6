"""Several processes that train one network together: started by torchrun, one per GPU or per part of a processor.

Each takes its share of every batch, gradients are averaged by DistributedDataParallel, and batch normalization counts
the whole batch, so that what is learned does not depend on the number of processes but for rounding and for what
dropout draws. Without torchrun a process is alone, and nothing of this costs anything.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn

from clprune.errors import ClpruneError, UsageError

Result = TypeVar("Result")

SET_BY_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process is number `rank`, counted from 0, of `count`; `local_rank` counts those of its machine."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """The one that writes files, shows progress and measures."""
        return self.rank == 0

    def shard(self, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
        """This process's part of a batch. Raises UsageError for fewer images than processes."""
        if len(chosen) < self.count:
            raise UsageError(f"a batch of {len(chosen)} images for {self.count} processes: expected one each")
        return chosen[self.rank :: self.count]

    def sum(self, value: float) -> float:
        """The sum of all processes' values; every process has to ask for it."""
        if self.count == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64)
        distributed.all_reduce(total)
        return float(total)

    def from_first(self, make: Callable[[], Result]) -> Result:
        """What `make` returns in the first process, for all of them; the errors of clprune that it raises as well."""
        if self.count == 1:
            return make()
        answer: list[Any] = [None, None]
        if self.is_first:
            try:
                answer[0] = make()
            except ClpruneError as error:
                distributed.broadcast_object_list([None, str(error)], src=0)
                raise
        distributed.broadcast_object_list(answer, src=0)
        if answer[1] is not None:
            raise ClpruneError(answer[1])
        return cast(Result, answer[0])

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module whose backward pass averages gradients over all processes."""
        if self.count == 1:
            return module
        return nn.parallel.DistributedDataParallel(module)


def current_ranks() -> Ranks:
    """This process's place, alone outside of `join_ranks`."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return Ranks()
    return Ranks(
        rank=distributed.get_rank(),
        count=distributed.get_world_size(),
        local_rank=int(os.environ.get("LOCAL_RANK", "0")),
    )


@contextmanager
def join_ranks() -> Iterator[Ranks]:
    """Meet the other processes that torchrun started, where it did. Raises UsageError where torch cannot do it."""
    if not all(name in os.environ for name in SET_BY_TORCHRUN):
        yield Ranks()
        return
    if not distributed.is_available():
        raise UsageError("this PyTorch is built without torch.distributed: expected one with it, or no torchrun")
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        backend = "cpu:gloo,cuda:nccl"
    distributed.init_process_group(backend)
    try:
        yield current_ranks()
    finally:
        distributed.destroy_process_group()


def sum_over_ranks(values: Tensor) -> Tensor:
    """The sum of `values` over all processes, which gradients flow back through."""
    return cast(Tensor, _Sum.apply(values))  # type: ignore[no-untyped-call]  # torch leaves it without annotations


class _Sum(torch.autograd.Function):
    """All processes add up; so do the gradients, because each process's result depends on every process's values."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total
