"""TIFF files that libtiff decodes partly are refused, and what it would print of them is in our error."""

from __future__ import annotations

import functools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clprune import libtiff
from clprune.errors import ImageError
from clprune.image import load_image
from clprune.libtiff import errors_of_libtiff

PACKINGS = ["group3", "group4", "tiff_ccitt", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"]


def tiff(packing: str, *, damaged: bool = False) -> bytes:
    """A picture of noise, in whose middle bytes are others."""
    file = BytesIO()
    mode = "1" if packing.startswith(("group", "tiff_ccitt")) else "RGB"
    noise = np.random.default_rng(1).integers(256, size=(96, 128), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(file, "TIFF", compression=packing)
    content = bytearray(file.getvalue())
    if damaged:
        half = len(content) // 2
        content[half : half + 40] = bytes(range(100, 140))
    return bytes(content)


def test_threads_that_begin_together_have_one_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second one would free the first, which libtiff still calls."""
    together, begun = threading.Barrier(8), []

    @functools.cache
    def slow_handler() -> None:
        begun.append(None)
        time.sleep(0.05)

    monkeypatch.setattr(libtiff, "_handler", slow_handler)

    def begin(_: int) -> None:
        together.wait()
        with errors_of_libtiff():
            pass

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(begin, range(8)))
    assert len(begun) == 1


@pytest.mark.parametrize("packing", PACKINGS)
def test_whole_files_are_read(tmp_path: Path, packing: str, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(packing))
    assert load_image(tmp_path / "a.tif").shape == (3, 96, 128)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("packing", ["group4", "tiff_ccitt", "tiff_lzw"])
def test_damaged_files_are_refused_without_lines_of_libtiff(
    tmp_path: Path, packing: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(packing, damaged=True))
    with pytest.raises(ImageError, match=r"a\.tif: (is damaged|cannot be read as an image)") as refused:
        load_image(tmp_path / "a.tif")
    assert "\n" not in str(refused.value)
    if packing == "group4":
        assert "libtiff's Fax4Decode finds errors in it (" in str(refused.value)
    assert capfd.readouterr() == ("", "")


def test_other_threads_and_programs_keep_their_lines(capfd: pytest.CaptureFixture[str]) -> None:
    def decode() -> None:
        Image.open(BytesIO(tiff("group4", damaged=True))).load()

    with errors_of_libtiff() as found:
        thread = threading.Thread(target=decode)
        thread.start()
        thread.join()
    assert found == []
    assert "Fax4Decode" in capfd.readouterr().err
    with errors_of_libtiff() as found:
        decode()
    assert set(found) == {"Fax4Decode"}
    decode()
    assert capfd.readouterr().err.count("Fax4Decode") == len(found)
