"""All pruning methods by name. A new method is one file with a `METHOD`, and its line here."""

from __future__ import annotations

from clprune.errors import UsageError
from clprune.pruning import abwsp, balanced, bcbp, block, bwsp, mixed, nm, unstructured, wavefront, workgroup, wsp
from clprune.pruning import filter as filters
from clprune.pruning.criterion import Matrix
from clprune.pruning.method import MaskOptions, Method
from clprune.pruning.unit import Mask, check_sparsity
from clprune.unit import Unit

_MODULES = (abwsp, balanced, bcbp, block, bwsp, filters, mixed, nm, unstructured, wavefront, workgroup, wsp)
_METHODS: dict[str, Method] = {module.METHOD.name: module.METHOD for module in _MODULES}


def list_methods() -> tuple[str, ...]:
    """Names of the methods, in alphabetical order."""
    return tuple(sorted(_METHODS))


def get_method(name: str) -> Method:
    """The method of that name. Raises UsageError for an unknown one."""
    if name not in _METHODS:
        raise UsageError(f"pruning method {name!r}: expected one of {', '.join(list_methods())}")
    return _METHODS[name]


def mask_for(
    method: str,
    weights_2d: Matrix,
    *,
    unit: Unit,
    sparsity: float,
    criterion: str | None = None,
    group_rows: int | None = None,
    parallel_tiles: int | None = None,
    vector_kept_share: float | None = None,
    winograd: int | None = None,
    balance: str = "list",
) -> Mask:
    """The mask of one layer: bool `[M, K]`, True where a weight stays.

    `weights_2d` is the layer in the GEMM view, `[out_channels, in_channels / groups * size * size]`; `group_rows` are
    the output channels of one group; without a `criterion` the method's own counts. The others are for `bcbp`,
    `mixed` and the Winograd domain (see `MaskOptions`). Raises UsageError for an unknown method or criterion, a
    sparsity outside [0, 1), or weights that are not finite.
    """
    chosen = get_method(method)
    check_sparsity(sparsity)
    options = MaskOptions(
        unit=unit,
        sparsity=sparsity,
        criterion=criterion or chosen.criterion,
        group_rows=group_rows,
        parallel_tiles=parallel_tiles,
        vector_kept_share=vector_kept_share,
        winograd=winograd,
        balance=balance,
    )
    return chosen.mask(weights_2d, options)
