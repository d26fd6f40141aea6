"""`clprune infer`: lines in darknet's style, JSON, names, and what a user can get wrong."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clprune import Runner
from clprune.cli.infer import split_files
from clprune.darknet.network import load_network
from clprune.image import ImageOptions
from clprune.runner.inference import image_input
from tests.cli.conftest import CFG, Run

pytestmark = pytest.mark.usefixtures("device_context")


def expected(model: Path, image: Path, **options: str) -> list[tuple[int, float]]:
    """(class, percent) in falling order, straight from the Runner."""
    network = load_network(model)
    x = image_input(network, image, options=ImageOptions(**options))  # type: ignore[arg-type]
    with Runner(network) as runner:
        values = runner(x[None])[0]
    return [(int(index), 100 * float(values[index])) for index in np.argsort(-values, kind="stable")]


def test_lines_in_darknets_style(run: Run, model: Path, images: list[Path]) -> None:
    result = run("infer", model, model.with_suffix(".weights"), *images[:2], "--top", "3")
    assert result.status == 0
    lines = []
    for image in images[:2]:
        lines.append(str(image))
        lines += [f"{percent:5.2f}%: {index}" for index, percent in expected(model, image)[:3]]
    assert result.out.splitlines() == lines
    assert "letterbox to 13x11" in result.err
    assert "2 of 2 images" in result.err


def test_top_is_five_and_at_most_the_outputs(run: Run, model: Path, images: list[Path]) -> None:
    assert len(run("infer", model, images[0]).out.splitlines()) == 1 + 5
    assert len(run("infer", model, images[0], "--top", "99").out.splitlines()) == 1 + 10


def test_names(run: Run, model: Path, images: list[Path], tmp_path: Path) -> None:
    best = expected(model, images[0])[0][0]
    beside = model.with_suffix(".names")
    beside.write_text("".join(f"beside {index}\n" for index in range(12)))
    assert f": beside {best}" in run("infer", model, images[0], "--top", "1").out
    named = tmp_path / "other.names"
    named.write_text("".join(f"other {index}\r\n" for index in range(10)))
    assert f": other {best}\n" in run("infer", model, images[0], "--top", "1", "--names", named).out


def test_too_few_or_no_names(run: Run, model: Path, images: list[Path], tmp_path: Path) -> None:
    short = tmp_path / "short.names"
    short.write_text("one\ntwo\n")
    result = run("infer", model, images[0], "--names", short)
    assert result.status == 1
    assert result.error == f"{short}: 2 names: expected at least 10, the network's outputs"
    result = run("infer", model, images[0], "--names", tmp_path / "none")
    assert (result.status, result.error) == (1, f"{tmp_path / 'none'}: no such file")


def test_unreadable_images_do_not_stop_the_others(
    run: Run, model: Path, images: list[Path], broken: Path, tmp_path: Path
) -> None:
    absent = tmp_path / "absent.png"
    for batch in ("1", "2"):
        result = run("infer", model, images[0], broken, images[1], absent, images[2], "--top", "1", "--batch", batch)
        assert result.status == 1
        assert result.out.splitlines()[::2] == [str(image) for image in images]
        errors = [line for line in result.err.splitlines() if "error" in line]
        assert errors == [
            f"clprune: error: {broken}: cannot be read as an image: of no known format",
            f"clprune: error: {absent}: no such file",
        ]


def test_json_is_one_object_per_line(run: Run, model: Path, images: list[Path], broken: Path) -> None:
    result = run("infer", model, images[0], broken, "--json", "--top", "2")
    assert result.status == 1
    first, second = (json.loads(line) for line in result.out.splitlines())
    assert first["image"] == str(images[0])
    assert [(p["index"], p["name"]) for p in first["predictions"]] == [
        (index, str(index)) for index, _ in expected(model, images[0])[:2]
    ]
    assert first["predictions"][0]["probability"] >= first["predictions"][1]["probability"]
    assert second == {"image": str(broken), "error": f"{broken}: cannot be read as an image: of no known format"}


def test_values_of_a_layer(run: Run, model: Path, images: list[Path], broken: Path, tmp_path: Path) -> None:
    out = tmp_path / "values.npy"
    result = run("infer", model, *images[:2], broken, "--until", "-4", "--out", out)
    assert result.status == 1
    values = np.load(out)
    assert (values.shape, values.dtype) == ((2, 9, 6, 7), np.float32)
    assert re.fullmatch(r"layer 1 \[maxpool\] 9x6x7: min .*, mean .*, max .*", result.out.splitlines()[1])
    (line,) = run("infer", model, images[0], "--until", "1", "--json").out.splitlines()
    assert json.loads(line)["max"] == float(values[0].max())
    assert "no layer 9: expected 0 to 4" in run("infer", model, images[0], "--until", "9").error


def test_batches_give_the_same_answers(run: Run, model: Path, images: list[Path]) -> None:
    one = run("infer", model, *images, "--json")
    three = run("infer", model, *images, "--json", "--batch", "2")
    for line, other in zip(one.out.splitlines(), three.out.splitlines(), strict=True):
        alone, together = json.loads(line)["predictions"], json.loads(other)["predictions"]
        assert [p["index"] for p in alone] == [p["index"] for p in together]
        np.testing.assert_allclose([p["probability"] for p in alone], [p["probability"] for p in together], rtol=1e-5)


@pytest.mark.parametrize("resize", ["crop", "stretch"])
def test_resize(run: Run, model: Path, images: list[Path], resize: str) -> None:
    result = run("infer", model, images[0], "--resize", resize, "--top", "1")
    index, percent = expected(model, images[0], resize=resize)[0]
    assert result.out.splitlines()[1] == f"{percent:5.2f}%: {index}"
    assert f"clprune: {resize} to 13x11" in result.err


def test_paths_from_standard_input(run: Run, model: Path, images: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"{images[0]}\r\n\n{images[1]}"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    result = run("infer", model, "--top", "1")
    assert result.status == 0
    assert result.out.splitlines()[::2] == [str(images[0]), str(images[1])]
    assert "Enter" not in result.err


def test_paths_that_are_no_text(run: Run, model: Path, images: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    lines = b"caf\xe9.png\n" + os.fsencode(images[0]) + b"\n"
    for options in ([], ["--json"]):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines), encoding="utf-8"))
        result = run("infer", model, *options)
        assert result.status == 1
        assert result.error.endswith(".png: no such file")
        assert str(images[0]) in result.out
    named = images[0].with_name(os.fsdecode(b"caf\xe9.png"))
    named.write_bytes(images[0].read_bytes())
    result = run("infer", model, named, "--top", "1")
    assert result.status == 0
    assert "caf\N{REPLACEMENT CHARACTER}.png\n" in result.out


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_lists_as_other_systems_write_them(
    run: Run, model: Path, images: list[Path], monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    ends = (" \n", "\t\r\n", "\n\n  ")
    lines = "".join(f"{image}{end}" for image, end in zip(images, ends, strict=False)).encode(encoding)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    result = run("infer", model, "--top", "1")
    assert result.status == 0, result.err
    assert result.out.splitlines()[::2] == [str(image) for image in images]


def test_a_name_that_ends_in_a_blank_is_found(
    run: Run, model: Path, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    named = images[0].with_name(" a.png ")
    named.write_bytes(images[0].read_bytes())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{named}\n{images[1]} \n".encode())))
    result = run("infer", model, "--top", "1")
    assert (result.status, result.out.splitlines()[::2]) == (0, [str(named), str(images[1])])


def test_what_is_no_list(run: Run, model: Path, images: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x" * 100_000)))
    result = run("infer", model)
    assert result.status == 2
    assert "65536 bytes without a newline on standard input: expected one path per line" in result.error
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a.png\0b.png\0c\n")))
    result = run("infer", model)
    assert (result.status, result.error) == (1, "a.png?b.png?c: no such file: a name has no zero bytes")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes as POSIX has them")
def test_pipes_are_refused_at_once(run: Run, model: Path, images: list[Path], tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.weights"
    os.mkfifo(pipe)
    for arguments in ([pipe], [model, pipe, images[0]], [model, images[0], pipe], [model, images[0], "--names", pipe]):
        result = run("infer", *arguments)
        assert result.status == 1
        assert result.error == f"{pipe}: is a pipe or a device: expected a regular file"


def test_names_of_a_data_file(run: Run, model: Path, images: list[Path], tmp_path: Path) -> None:
    (tmp_path / "my.names").write_bytes("\r\n".join(f"Größe {index}" for index in range(10)).encode("utf-16"))
    (tmp_path / "my.data").write_text("classes = 10\nnames = my.names\ntop = 3\n")
    result = run("infer", model, images[0], "--names", tmp_path / "my.data", "--top", "1")
    assert re.fullmatch(r" *[0-9.]+%: Größe [0-9]", result.out.splitlines()[1])


@pytest.mark.parametrize("content", [b"<!DOCTYPE html>\n" * 9, b"version https://git-lfs.github.com/spec/v1\n" * 3])
def test_text_in_place_of_weights(run: Run, model: Path, images: list[Path], tmp_path: Path, content: bytes) -> None:
    for name in ("downloaded.weights", "downloaded.safetensors"):
        (tmp_path / name).write_bytes(content)
        result = run("infer", model, tmp_path / name, images[0])
        assert result.status == 1
        assert re.search(rf"{name}: is (an HTML page|a Git LFS pointer) ", result.error), result.err


def test_folders_are_no_files(run: Run, model: Path, images: list[Path], tmp_path: Path) -> None:
    for arguments in ([tmp_path], [model, tmp_path], [model, images[0], "--names", tmp_path]):
        result = run("infer", *arguments)
        assert result.status == 1
        assert result.error.startswith(f"{tmp_path}: ")


def test_each_path_is_answered_at_once(model: Path, images: list[Path]) -> None:
    command = [sys.executable, "-c", "from clprune.cli import main; main()", "infer", str(model), "--top", "1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for image in images:
            process.stdin.write(f"{image}{os.linesep}".encode())
            process.stdin.flush()
            assert process.stdout.readline().decode().rstrip() == str(image)
            assert b"%: " in process.stdout.readline()
        process.stdin.close()
        assert process.wait(timeout=60) == 0


def test_profile(run: Run, model: Path, images: list[Path]) -> None:
    result = run("infer", model, images[0], "--profile")
    assert result.status == 0
    assert "convolutional" in result.out
    last = run("infer", model, images[0], "--profile", "--json").out.splitlines()[-1]
    assert len(json.loads(last)["profile"]["layers"]) >= 5


def test_crop_at_the_beginning_runs_on_the_device(run: Run, model: Path, images: list[Path]) -> None:
    text = CFG.replace("width=13\nheight=11", "width=17\nheight=15")
    cropped = model.with_name("cropped.cfg")
    cropped.write_text(text.replace("[convolutional]", "[crop]\ncrop_width=13\ncrop_height=11\n[convolutional]", 1))
    result = run("infer", cropped, model.with_suffix(".weights"), images[0], "--top", "1")
    assert result.status == 0
    assert "letterbox to 17x15" in result.err


def test_weights_are_told_from_images_by_suffix_and_content(model: Path, images: list[Path], tmp_path: Path) -> None:
    weights = model.with_suffix(".weights")
    assert split_files([str(weights), "a.png"]) == (str(weights), ("a.png",))
    assert split_files(["absent.weights"]) == ("absent.weights", ())
    checkpoint = tmp_path / "model_final"
    checkpoint.write_bytes(weights.read_bytes())
    assert split_files([str(checkpoint)]) == (str(checkpoint), ())
    assert split_files([str(images[0]), str(weights)]) == (None, (str(images[0]), str(weights)))
    assert split_files([]) == (None, ())


def test_missing_files(run: Run, tmp_path: Path, images: list[Path]) -> None:
    absent = tmp_path / "absent.cfg"
    result = run("infer", absent, images[0])
    assert (result.status, result.error) == (1, f"{absent}: no such file")
    absent.write_text(CFG)
    result = run("infer", absent, images[0])
    assert result.status == 1
    assert result.error.startswith(f"{absent.with_suffix('.weights')}: no such file: expected the weights beside")
    result = run("infer", absent, tmp_path / "other.weights", images[0])
    assert (result.status, result.error) == (1, f"{tmp_path / 'other.weights'}: no such file")


def test_cfg_error_names_file_and_line(run: Run, model: Path, images: list[Path]) -> None:
    model.write_text(CFG.replace("filters=16", "filters=many"))
    result = run("infer", model, images[0])
    assert result.status == 1
    assert result.error.startswith(f"{model}:{CFG[: CFG.index('filters=16')].count(chr(10)) + 1}: ")
    assert "many" in result.error


@pytest.mark.parametrize(("change", "text"), [(-4, "too short"), (4, "too long")])
def test_weights_of_another_size(run: Run, model: Path, images: list[Path], change: int, text: str) -> None:
    weights = model.with_suffix(".weights")
    data = weights.read_bytes()
    weights.write_bytes(data[:change] if change < 0 else data + bytes(change))
    result = run("infer", model, images[0])
    assert result.status == 1
    assert text in result.error
    assert result.error.startswith(f"{weights}: {len(data) + change} bytes")
    assert "layer 3 [connected]" in result.error


def test_answers_that_are_not_finite(run: Run, model: Path, images: list[Path]) -> None:
    weights = model.with_suffix(".weights")
    data = weights.read_bytes()
    connected = np.full(100, 3e38, "<f4").tobytes()
    weights.write_bytes(data[: -len(connected)] + connected)
    result = run("infer", model, images[0])
    assert (result.status, result.out) == (1, "")
    assert result.error == f"{images[0]}: the network's answer is not finite"


@pytest.mark.parametrize(
    ("option", "text"),
    [
        (("--top", "0"), "Invalid value for '--top'"),
        (("--batch", "0"), "Invalid value for '--batch'"),
        (("--resize", "wide"), "Invalid value for '--resize'"),
        (("--bogus",), "No such option"),
    ],
)
def test_wrong_usage(run: Run, model: Path, images: list[Path], option: tuple[str, ...], text: str) -> None:
    result = run("infer", model, images[0], *option)
    assert result.status == 2
    assert text in result.error


def test_network_that_takes_no_images(run: Run, model: Path, images: list[Path]) -> None:
    model.write_text(CFG.replace("channels=3", "channels=5"))
    result = run("infer", model, images[0])
    assert result.status == 2
    assert "takes 5x11x13; images have 1 channel (grey) or 3 (RGB)" in result.error


def test_no_such_device(run: Run, model: Path, images: list[Path]) -> None:
    result = run("infer", model, images[0], "--device", "nothing")
    assert result.status == 1
    assert "the device selection is 'nothing'" in result.error


def test_workers_without_their_extra(model: Path, images: list[Path]) -> None:
    """One line says what to install."""
    arguments = ["infer", str(model), str(images[0]), "--workers", "1"]
    script = f"import sys; sys.modules['distributed'] = None; from clprune.cli import main; main({arguments!r})"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 1
    (line,) = [line for line in result.stderr.splitlines() if "error" in line]
    assert line.endswith("install them with: pip install 'clprune[distributed]'")
    assert "Traceback" not in result.stderr
