"""Files of tensors that promise more than they hold."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from pathlib import Path

import pytest
import torch

from clprune.errors import WeightsError
from clprune.training.classifiers import read_state_dict
from clprune.training.tensor_files import MOST_TENSORS


def packed(path: Path, count: int) -> None:
    """What `torch.save` wrote of so many zeros, deflated."""
    content = io.BytesIO()
    torch.save({"w": torch.zeros(count)}, content)
    with zipfile.ZipFile(content) as plain, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry in plain.infolist():
            archive.writestr(entry.filename, plain.read(entry))


def many(path: Path, count: int) -> None:
    """So many tensors without a value, and one with one."""
    header = {f"t{number}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for number in range(count)}
    text = json.dumps(header | {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"\0\0\0\0")


def test_what_unpacks_to_more_than_the_file_holds(tmp_path: Path) -> None:
    packed(tmp_path / "a.pt", 1 << 20)
    with pytest.raises(WeightsError, match=r"its \d+ bytes unpack to 4\d+; expected what torch.save wrote"):
        read_state_dict(tmp_path / "a.pt")


def test_tensors_without_number(tmp_path: Path) -> None:
    many(tmp_path / "a.safetensors", MOST_TENSORS)
    with pytest.raises(WeightsError, match="holds 65537 tensors; expected at most 65536"):
        read_state_dict(tmp_path / "a.safetensors")
    many(tmp_path / "b.safetensors", 3)
    assert set(read_state_dict(tmp_path / "b.safetensors")) == {"t0", "t1", "t2", "w"}


@pytest.mark.parametrize("is_zip", [True, False])
def test_what_torch_wrote_is_read(tmp_path: Path, is_zip: bool) -> None:
    torch.save({"w": torch.arange(5)}, tmp_path / "a.pt", _use_new_zipfile_serialization=is_zip)
    assert read_state_dict(tmp_path / "a.pt")["w"].tolist() == [0, 1, 2, 3, 4]


def test_a_damaged_archive_is_one_line(tmp_path: Path) -> None:
    torch.save({"w": torch.arange(5)}, tmp_path / "a.pt")
    content = bytearray((tmp_path / "a.pt").read_bytes())
    content[content.rindex(b"PK\1\2") + 2] = 9  # an entry of the directory
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(WeightsError, match="no state dict that can be read safely") as found:
        read_state_dict(tmp_path / "a.pt")
    assert "\n" not in str(found.value)
