"""Folders of images on the command line: names, resizing, broken files, grey networks, and steps of one value."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import CFG, Run
from tests.training.conftest import one_thread  # noqa: F401  # a fixture

pytest.importorskip("torch", reason="training needs PyTorch")
pytestmark = pytest.mark.usefixtures("device_context", "one_thread")

CLASSES = [str(number) for number in (*range(1, 10), 10)]
SHORT = ("--epochs", "2", "--batch", "8", "--learning-rate", "0.02")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten classes called 1 to 10, each of its own brightness, five training images and one held out of each."""
    root = tmp_path / "photos"
    for number, name in enumerate(CLASSES):
        for split, count in (("train", 5), ("test", 1)):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                picture = Image.new("RGB", (13, 11), (25 * number, 255 - 25 * number, 10 * index))
                picture.save(root / split / name / f"{index}.png")
    return root


def test_names_are_written_in_natural_order_and_used(run: Run, model: Path, folder: Path, tmp_path: Path) -> None:
    result = run("train", model, "--data", f"folder:{folder}", *SHORT, "--out", tmp_path / "mine")
    assert result.status == 0
    assert (tmp_path / "mine.names").read_text().split() == CLASSES
    image = folder / "test" / "10" / "0.png"
    lines = run("infer", model, tmp_path / "mine.weights", image, "--json").out
    predictions = json.loads(lines)["predictions"]
    assert all(guess["name"] == CLASSES[guess["index"]] for guess in predictions)
    # a pruned model keeps the names, so that its answers are called alike
    pruned = run(
        "prune", model, tmp_path / "mine.weights", "--data", f"folder:{folder}", "--sparsity", "0.5", "--unit", "4x1",
        *SHORT, "--resize", "crop", "--out", tmp_path / "pruned",
    )  # fmt: skip
    assert pruned.status == 0
    assert (tmp_path / "pruned.names").read_text().split() == CLASSES


def test_names_that_are_there_decide_the_order(run: Run, model: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.names").write_text("\n".join(reversed(CLASSES)) + "\n")
    result = run("train", model, "--data", f"folder:{folder}", *SHORT, "--out", tmp_path / "mine")
    assert result.status == 0
    assert (tmp_path / "mine.names").read_text().split() == CLASSES[::-1]
    (tmp_path / "mine.names").write_text("\n".join([*CLASSES[:9], "eleven"]) + "\n")
    result = run("train", model, "--data", f"folder:{folder}", *SHORT, "--out", tmp_path / "mine")
    assert (result.status, "has no class '10' of folder:" in result.error) == (1, True)


def test_fewer_classes_than_outputs(run: Run, model: Path, folder: Path, tmp_path: Path) -> None:
    for split in ("train", "test"):
        (folder / split / "10").rename(tmp_path / split)
    assert run("train", model, "--data", f"folder:{folder}", *SHORT, "--out", tmp_path / "mine").status == 0
    assert (tmp_path / "mine.names").read_text().splitlines() == [*CLASSES[:9], "(no class 9)"]
    assert run("infer", model, tmp_path / "mine.weights", folder / "test" / "9" / "0.png").status == 0


def test_a_perfect_model_stays_perfect_on_some_of_its_classes(
    run: Run, model: Path, folder: Path, tmp_path: Path
) -> None:
    """Whatever the model says, the images of one class at a time add up to those of all."""
    run("train", model, "--data", f"folder:{folder}", *SHORT, "--out", tmp_path / "mine")
    (tmp_path / "mine.names").unlink()

    def right() -> int:
        result = run("eval", model, tmp_path / "mine.weights", "--data", f"folder:{folder}", "--json")
        measured = json.loads(result.out)
        return round(measured["accuracy"] * measured["images"])

    whole = right()
    for name in CLASSES[:5]:
        (folder / "test" / name).rename(tmp_path / f"away{name}")
    second = right()
    for name in CLASSES[:5]:
        (tmp_path / f"away{name}").rename(folder / "test" / name)
    for name in CLASSES[5:]:
        (folder / "test" / name).rename(tmp_path / f"away{name}")
    assert right() + second == whole


def test_held_out_images_alone_follow_the_models_names(run: Run, model: Path, folder: Path, tmp_path: Path) -> None:
    run("train", model, "--data", f"folder:{folder}", *SHORT, "--out", tmp_path / "mine")
    both = run("eval", model, tmp_path / "mine.weights", "--data", f"folder:{folder}", "--json")
    for name in CLASSES[:3]:
        for image in (folder / "test" / name).iterdir():
            image.unlink()
    some = run("eval", model, tmp_path / "mine.weights", "--data", f"folder:{folder}", "--json")
    (folder / "train").rename(tmp_path / "away")
    alone = run("eval", model, tmp_path / "mine.weights", "--data", f"folder:{folder}", "--json")
    assert json.loads(alone.out)["accuracy"] == json.loads(some.out)["accuracy"]
    assert both.status == some.status == alone.status == 0
    assert "left out: 3 folders without images" in some.err


@pytest.mark.parametrize("resize", ["letterbox", "crop", "stretch"])
def test_resize_decides_what_eval_sees(run: Run, model: Path, folder: Path, resize: str) -> None:
    result = run("eval", model, "--data", f"folder:{folder}", "--resize", resize, "--json")
    assert result.status == 0
    assert json.loads(result.out)["images"] == 10
    assert run("eval", model, "--data", f"folder:{folder}", "--resize", "wide").status == 2


def test_broken_files_and_a_checkpoint(run: Run, model: Path, folder: Path, tmp_path: Path) -> None:
    broken = folder / "train" / "3" / "1.png"
    content = broken.read_bytes()
    broken.write_bytes(content[:45])
    kept = ("--checkpoint", tmp_path / "state", "--data", f"folder:{folder}", "--out", tmp_path / "mine", *SHORT)
    strict = run("train", model, *kept, "--strict")
    assert (strict.status, "1 of 50 images cannot be read (strict)" in strict.error) == (1, True)
    first = run("train", model, *kept)
    assert first.status == 0
    assert first.err.count("1 of 50 images cannot be read and are left out") == 1
    weights = (tmp_path / "mine.weights").read_bytes()
    broken.unlink()
    again = run("train", model, *kept)
    assert again.status == 0
    assert "warning" not in again.err  # the run's images are the same
    assert (tmp_path / "mine.weights").read_bytes() == weights
    (folder / "train" / "4" / "2.png").unlink()
    fewer = run("train", model, *kept)
    assert fewer.status == 0
    assert "2 of its run's 50 image files are gone" in fewer.err
    broken.write_bytes(content)
    (folder / "train" / "3" / "new.png").write_bytes(content)
    refused = run("train", model, *kept)
    assert (refused.status, "belongs to a run without 1 of these 50 image files" in refused.error) == (1, True)
    (folder / "train" / "3" / "new.png").unlink()
    other = run("train", model, *kept, "--count", "40")
    assert (other.status, "belongs to a run with another network, data" in other.error) == (1, True)


def test_the_file_breaks_between_two_runs(run: Run, model: Path, folder: Path, tmp_path: Path) -> None:
    kept = ("--checkpoint", tmp_path / "state", "--data", f"folder:{folder}", "--out", tmp_path / "mine", *SHORT)
    assert run("train", model, *kept).status == 0
    (folder / "train" / "3" / "1.png").write_bytes(b"gone wrong")
    again = run("train", model, *kept)
    assert again.status == 0
    assert "other image files cannot be read now" in again.err


@pytest.fixture
def grey(tmp_path: Path) -> Path:
    path = tmp_path / "grey.cfg"
    path.write_text(CFG.replace("channels=3", "channels=1"))
    return path


@pytest.mark.parametrize("data", ["folder", "digits", "synthetic"])
def test_grey_networks_train_prune_and_are_evaluated(
    run: Run, grey: Path, folder: Path, tmp_path: Path, data: str
) -> None:
    if data == "digits":
        pytest.importorskip("sklearn")
    spec = f"folder:{folder}" if data == "folder" else data
    options = ("--data", spec, "--count", "32", *SHORT)
    trained = run("train", grey, *options, "--out", tmp_path / "grey", "--json")
    assert trained.status == 0
    measured = run("eval", grey, "--data", spec, "--json")
    assert json.loads(measured.out)["accuracy"] == pytest.approx(json.loads(trained.out)["accuracy"], abs=1e-3)
    pruned = run(
        "prune", grey, tmp_path / "grey.weights", *options, "--sparsity", "0.5", "--unit", "4x1",
        "--out", tmp_path / "pruned",
    )  # fmt: skip
    assert pruned.status == 0
    coded = run("quantize", grey, "--data", spec, "--activations", "--out", tmp_path / "coded")
    assert coded.status == 0


def test_other_channels_are_one_line(run: Run, grey: Path, tmp_path: Path) -> None:
    four = tmp_path / "four.cfg"
    four.write_text(CFG.replace("channels=3", "channels=4"))
    result = run("train", four, "--data", "synthetic", *SHORT, "--out", tmp_path / "four")
    assert result.status == 2
    assert "images of 3x11x13" in result.error and "takes 4x11x13" in result.error


ONE = """\
[net]
width=4
height=4
channels=3
[convolutional]
filters=8
size=4
activation=relu
{first}
[connected]
output=10
activation=linear
{second}
[softmax]
"""


@pytest.mark.parametrize("keys", [{"first": "batch_normalize=1"}, {"second": "batch_normalize=1"}])
@pytest.mark.parametrize("options", [("--batch", "1"), ("--count", "1"), ("--batch", "1", "--count", "4")])
def test_batch_normalization_over_one_value_is_one_line(
    run: Run, tmp_path: Path, keys: dict[str, str], options: tuple[str, ...]
) -> None:
    path = tmp_path / "one.cfg"
    path.write_text(ONE.format(**{"first": "", "second": "", **keys}))
    result = run("train", path, "--data", "synthetic", "--epochs", "1", *options, "--out", tmp_path / "one")
    assert result.status == 2
    assert "batch normalization over 1 value per channel" in result.error
    assert "expected a batch and a count of at least 2" in result.error
    good = run(
        "train",
        path,
        "--data",
        "synthetic",
        "--epochs",
        "1",
        "--batch",
        "2",
        "--count",
        "2",
        "--out",
        path.with_suffix(""),
    )
    assert good.status == 0


def test_one_image_a_step_trains_where_there_is_more_than_one_value(run: Run, model: Path, tmp_path: Path) -> None:
    options = ("--data", "synthetic", "--epochs", "1", "--batch", "1", "--count", "2", "--out", tmp_path / "one")
    assert run("train", model, *options).status == 0
    path = tmp_path / "bare.cfg"
    path.write_text(ONE.format(first="", second=""))
    assert run("train", path, *options).status == 0
