"""A kernel of another package, found through its entry point, with templates of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clprune.candidate import bind_case, verify
from clprune.darknet.network import load_network
from clprune.errors import UsageError
from clprune.kernels.catalogue import built_in_kernels, find_kernels, kernel_by_name
from clprune.kernels.workload import Workload
from clprune.opencl import Session
from clprune.plan.plan import make_plan
from tests.imaginary import imaginary_device

MODULE = """
from pathlib import Path

from clprune.kernels.arguments import Stage
from clprune.kernels.softmax import SoftmaxKernel

class Kernel(SoftmaxKernel):
    name = "own_softmax"
    template = "own_softmax"
    template_folders = (Path(__file__).parent / "own_templates",)

    def stages(self, tile, operation):
        return (Stage(name="softmax", launch=self.launch(tile, operation)),)

KERNEL = Kernel()
NO_KERNEL = 7
"""

TEMPLATE = """## Softmax by clprune's own template.
<%namespace name="common" file="common.mako"/>
<%namespace name="own" file="own.mako"/>
${common.multiply_add_macro()}
${own.remark()}
<%include file="softmax.cl.mako"/>
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package of one module and two templates."""
    (tmp_path / "own_kernels.py").write_text(MODULE)
    (tmp_path / "ill_kernels.py").write_text("1 / 0\n")
    folder = tmp_path / "own_templates"
    folder.mkdir()
    (folder / "own_softmax.cl.mako").write_text(TEMPLATE)
    (folder / "own.mako").write_text('<%def name="remark()">\n// of another package\n</%def>\n')
    facts = tmp_path / "own_kernels-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: own-kernels\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[clprune.kernels]\nown_softmax = own_kernels:KERNEL\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return facts / "entry_points.txt"


@pytest.mark.usefixtures("package")
def test_a_plan_may_choose_it(tmp_path: Path) -> None:
    cfg = tmp_path / "network.cfg"
    cfg.write_text("[net]\nheight=1\nwidth=1\nchannels=9\n\n[softmax]\n")
    (step,) = make_plan(load_network(cfg), imaginary_device()).steps
    assert [offer.kernel.name for offer in step.offers] == ["softmax", "own_softmax"]


@pytest.mark.usefixtures("package")
def test_a_package_adds_a_kernel(device_context: Session) -> None:
    kernel = kernel_by_name("own_softmax")
    assert find_kernels() == (*built_in_kernels(), kernel)
    assert kernel.source_hash() != kernel_by_name("softmax").source_hash()
    operation = kernel.sample_operations()[1]
    tile = kernel.safe_tile(operation)
    assert "// of another package" in kernel.source(tile, operation)
    case = kernel.case(tile, operation, kernel.sample(operation, Workload()))
    verify(device_context, bind_case(device_context, kernel, tile, operation, case))


def test_it_is_gone_with_the_package() -> None:
    assert find_kernels() == built_in_kernels()


def test_a_broken_one_is_named(package: Path) -> None:
    package.write_text("[clprune.kernels]\nwrong = own_kernels:NO_KERNEL\nill = ill_kernels:KERNEL\n")
    with pytest.raises(UsageError, match=r"wrong in clprune\.kernels: 7: expected a clprune\.kernels\.base\.Kernel"):
        kernel_by_name("wrong")
    broken = r"ill in clprune\.kernels: ill_kernels:KERNEL of own-kernels cannot be loaded \(ZeroDivisionError: "
    with pytest.raises(UsageError, match=broken):
        kernel_by_name("ill")
    with pytest.raises(UsageError, match="cannot be loaded"):
        find_kernels()
    assert kernel_by_name("softmax").name == "softmax"


def test_a_kernel_by_name_imports_no_other() -> None:
    script = (
        "from clprune.kernels.catalogue import kernel_by_name\n"
        "kernel_by_name('softmax')\n"
        "import sys\n"
        "print([name for name in sys.modules if name.startswith('clprune.kernels.conv')])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert result.stdout.strip() == "[]"
