"""What launches and the host cost: three ways to call one Runner, which is left as it was."""

from __future__ import annotations

import numpy as np

from clprune.opencl import Session
from clprune.resources import models_folder
from clprune.runner import Runner
from tools.bench.launches import section_of, time_launches


def test_three_ways_of_a_call(device_context: Session) -> None:
    cfg = models_folder() / "vgg16-digits.cfg"
    runner = Runner(cfg, cfg.with_suffix(".weights"), session=device_context)
    x = np.random.default_rng(3).random((1, *runner.network.input.dimensions), np.float32)
    before = runner(x)
    times = time_launches(runner, rounds=2)
    np.testing.assert_array_equal(runner(x), before)
    assert {len(series.samples_ms) for series in (times.joined, times.single, times.host)} == {2}
    assert 0 < times.joined_launches <= times.single_launches
    section = section_of(times, origin="file", rounds=2, device="a device")
    rows = section["parts"][0]["rows"]
    assert [row[:2] for row in rows] == [
        ["as it is", str(times.joined_launches)],
        ["each by itself", str(times.single_launches)],
        ["host side", "0"],
    ]
    assert section["host_side"]["runs"] == 2
