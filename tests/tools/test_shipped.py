"""The tool that makes tables of shipped tiles."""

from __future__ import annotations

from clprune.opencl import Session
from tools.shipped.__main__ import all_offers


def test_every_network_and_form_is_measured(device_context: Session) -> None:
    def problems(*networks: str, forms: tuple[str, ...]) -> set[tuple[str, str]]:
        return {(offer.operation.key, offer.workload.key) for offer in all_offers(device_context, networks, forms)}

    apart = [problems(name, forms=(form,)) for name in ("yolov3-tiny", "darknet19") for form in ("dense", "kept25")]
    assert all(apart)
    assert problems("yolov3-tiny", "darknet19", forms=("dense", "kept25")) == set.union(*apart)
