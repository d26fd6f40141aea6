"""Instructions are counted by name and width, and the page draws its conclusion from what was counted."""

from __future__ import annotations

import shutil

import pytest

from clprune.opencl import Session
from tools.bench.int8_instructions import Form, Found, count_instructions, disassembled, examine, forms, page

ASSEMBLER = """
  90:	{vex} vpdpbusd %xmm6,%xmm4,%xmm0
  95:	vpdpwssd %zmm9,%zmm6,%zmm3
  9a:	vpdpwssd (%rax),%zmm6,%zmm5{%k1}
  9f:	imul   %rdx,%rcx
  a3:	vpaddd %zmm1,%zmm2,%zmm3
"""


def test_instructions_are_counted_by_name_and_width() -> None:
    assert count_instructions(ASSEMBLER) == (("vpdpwssd 512", 2), ("vpdpbusd 128", 1), ("imul", 1))


@pytest.mark.skipif(shutil.which("objdump") is None, reason="objdump is not installed")
def test_what_is_no_object_file_holds_no_instructions() -> None:
    assert count_instructions(disassembled(b"nothing")) == ()


def test_page_says_what_the_driver_does(device_context: Session) -> None:
    base, *others = forms()
    plain = next(form for form in others if "plain C" in form.name)
    found = [examine(device_context, form) for form in (base, plain)]
    assert all(item.gmacs > 0 for item in found)
    text = page(device_context, [*found, Found(form=others[0], instructions=(), gmacs=0.0, problem="not offered")])
    assert "No form becomes `vpdpbusd` of 512 bits" in text
    assert "| not offered | - | - |" in text
    wide = Found(form=Form(name="wide", source="", products=1), instructions=(("vpdpbusd 512", 4),), gmacs=9.0)
    assert "wide becomes `vpdpbusd` of 512 bits." in page(device_context, [found[0], wide])
