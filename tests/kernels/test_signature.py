"""Arguments have the names of the parameters that a source declares, and nothing else is bound."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from clprune.errors import RenderError
from clprune.geometry import Shape
from clprune.kernels.signature import PLACES, check_all_are_taken, in_order, places, signature
from clprune.layout import padded_layout

SOURCE = """
inline float twice(const float v) { return 2.0f * v; }
__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void first(__global const float *restrict x,
           __global unsigned char *codes, const int count, const float scale) { }
__kernel
#ifdef SOMETHING
__attribute__((intel_reqd_sub_group_size(1)))
#endif
void second(__global float*y, long size)
{
}
"""


def ordered(function: str, takes: dict[str, str] | None = None, **arguments: Any) -> tuple[Any, ...]:
    return in_order(function, signature(SOURCE, function), arguments, takes=takes or {})


def test_parameters_are_read() -> None:
    names = [(p.type, p.is_pointer, p.name) for p in signature(SOURCE, "first")]
    assert names == [("float", True, "x"), ("char", True, "codes"), ("int", False, "count"), ("float", False, "scale")]
    assert [p.name for p in signature(SOURCE, "second")] == ["y", "size"]
    with pytest.raises(RenderError, match="no kernel function 'twice': it has first, second"):
        signature(SOURCE, "twice")


def test_arguments_come_in_the_order_of_the_source() -> None:
    found = ordered("first", scale=2, count=3, codes="c", x="x")
    assert found == ("x", "c", 3, 2.0)
    assert [type(value) for value in found[2:]] == [np.int32, np.float32]
    assert ordered("second", {"y": "q"}, y="x", q="scratch", size=2**40) == ("scratch", 2**40)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": 1.5}, "first: count is of type int, the argument is 1.5"),
        ({"count": True}, "first: count is of type int, the argument is True"),
        ({"scale": "2"}, "first: scale is of type float, the argument is '2'"),
        ({"count": np.zeros(3)}, "first: count is of type int"),
        ({"x": 7}, "first takes 'x' as an array, the argument is 7"),
    ],
)
def test_arguments_of_another_sort_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RenderError, match=message):
        ordered("first", **{"x": "x", "codes": "c", "count": 3, "scale": 1.0, **changes})


def test_missing_and_spare_arguments_are_named() -> None:
    with pytest.raises(RenderError, match="first takes 'codes', arguments are x, count, scale"):
        ordered("first", x="x", count=1, scale=1.0)
    functions = {name: (signature(SOURCE, name), {}) for name in ("first", "second")}
    arguments = dict.fromkeys(("x", "codes", "count", "scale", "y", "size"))
    check_all_are_taken({**arguments, "x_pitch": 3}, functions)
    with pytest.raises(RenderError, match="first and second: nothing takes the argument 'sclae'"):
        check_all_are_taken({**arguments, "sclae": 1.0}, functions)


def test_places_of_tensors() -> None:
    layout = padded_layout(batch=2, shape=Shape(channels=3, height=4, width=5), pitch=7, padding=1)
    assert places(x=layout) == {f"x_{name}": getattr(layout, name) for name in PLACES}
