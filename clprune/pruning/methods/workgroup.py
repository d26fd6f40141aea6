"""`workgroup`: the tile rows of one work-group x 1 column; what is removed is neither loaded nor multiplied.

Known: Choi & Yang, Euro-Par 2021 (10.1007/978-3-030-85665-6_14), derive two fine-grain pruning techniques from the
GPU's hierarchy of processing elements and memory: the finest unit that can be safely skipped.
Our choice: the unit of a work-group is the rows of its tile x 1 column of the GEMM view (`workgroup_rows` of the
kernel's declaration), so that even the load into local memory falls away. Nothing balances the row blocks: one
threshold over the layer decides.
"""

from __future__ import annotations

from clprune.pruning.method import Method
from clprune.pruning.threshold import mask_units

METHOD = Method(
    name="workgroup",
    summary="rows of a work-group's tile x 1 column, one threshold per layer",
    mask=mask_units,
    tile_rows="workgroup",
)
