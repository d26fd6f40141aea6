"""`wavefront`: the rows that one lock-step SIMD group computes x 1 column; what is removed is not multiplied.

Known: Choi & Yang, Euro-Par 2021 (10.1007/978-3-030-85665-6_14), derive two fine-grain pruning techniques from the
GPU's hierarchy of processing elements and memory: the finest unit that can be safely skipped. All lanes of a SIMD
group execute one instruction, so nothing finer than what they compute together can be left out.
Our choice: the unit is those rows (`wavefront_rows` of the kernel's declaration) x 1 column of the GEMM view, chosen
by one threshold over the layer. Where a work-group is one SIMD group, as on CPUs, `workgroup` is the same.
"""

from __future__ import annotations

from clprune.pruning.method import Method
from clprune.pruning.threshold import mask_units

METHOD = Method(
    name="wavefront", summary="rows of a lock-step SIMD group x 1 column, one threshold per layer", mask=mask_units
)
