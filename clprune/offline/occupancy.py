"""How many work-groups a compute unit holds at once, and what limits them: the occupancy calculators' rules.

NVIDIA: "CUDA C++ Best Practices Guide", section Occupancy, and the (retired) CUDA Occupancy Calculator spreadsheet.
AMD: `getOccupancyWithNumVGPRs` and `getMaxWorkGroupsPerCU` of LLVM's AMDGPU back end. On RDNA a work-group may spread
over both compute units of a work-group processor; here one compute unit with half of its local memory is counted.
"""

from __future__ import annotations

from dataclasses import dataclass

from clprune.architecture import Architecture
from clprune.geometry import ceil_div, round_up

REGISTERS, SCALAR_REGISTERS, LOCAL_MEMORY, WARPS, GROUPS = (
    "registers", "scalar registers", "local memory", "warps", "work-groups",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Occupancy:
    """Work-groups and warps resident on one compute unit; `limit` is what allows no more."""

    groups: int
    warps: int
    share: float
    limit: str


def occupancy(
    architecture: Architecture, *, work_group_size: int, registers: int, scalar_registers: int = 0, local_mem_bytes: int
) -> Occupancy:
    """Resident work-groups of `work_group_size` items with `registers` vector registers per item.

    `share` is resident warps over the most that the unit can hold, 0 where not even one work-group fits.
    """
    warps_per_group = ceil_div(work_group_size, architecture.warp_size)
    limits = {WARPS: architecture.warps_per_unit // warps_per_group}
    # Registers belong to a scheduler; warps of a group are dealt to the schedulers in turn.
    limits[REGISTERS] = _by_registers(
        architecture,
        budget=architecture.registers_per_scheduler,
        registers=round_up(max(registers, 1), architecture.register_granule),
        warps_per_group=warps_per_group,
    )
    if architecture.scalar_registers_per_scheduler and scalar_registers:
        limits[SCALAR_REGISTERS] = _by_registers(
            architecture,
            budget=architecture.scalar_registers_per_scheduler,
            registers=scalar_registers,
            warps_per_group=warps_per_group,
        )
    if local_mem_bytes:
        used = round_up(local_mem_bytes + architecture.local_mem_reserved_bytes, architecture.local_mem_granule_bytes)
        limits[LOCAL_MEMORY] = architecture.local_mem_per_unit_bytes // used
    if local_mem_bytes > architecture.local_mem_per_group_bytes:
        limits[LOCAL_MEMORY] = 0
    if warps_per_group > 1 or architecture.has_group_limit_for_warps:
        limits[GROUPS] = architecture.groups_per_unit
    groups = min(limits.values())
    return Occupancy(
        groups=groups,
        warps=groups * warps_per_group,
        share=groups * warps_per_group / architecture.warps_per_unit,
        limit=min(limits, key=limits.__getitem__),
    )


def _by_registers(architecture: Architecture, *, budget: int, registers: int, warps_per_group: int) -> int:
    warps = min(budget // registers, architecture.warps_per_scheduler) * architecture.schedulers
    return warps // warps_per_group
