"""The runs that a comparison of codings takes, their files, and what tells its experiments apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tools.compare.codings import PRUNED, CodedRun, all_coded_runs, file_name
from tools.compare.experiment import CodedExperiment
from tools.compare.frame import row_of


def experiment_in(folder: Path) -> CodedExperiment:
    dense = folder / "dense.weights"
    dense.write_bytes(b"weights")
    return CodedExperiment(
        cfg=folder / "dense.cfg", data="synthetic", dense=dense, sparsity=0.9, images=640, held_out=None,
        other_held_out=100, epochs=2, steps=3, step_epochs=1, learning_rate=0.03, distilled_epochs=0,
        distilled_rate=0.01, distillation=0.0, temperature=2.0, distilled_dropout=0.3, coded_rate=0.005, batch=64,
        precision="bfloat16",
    )  # fmt: skip


def test_codings_with_goals_come_before_those_without() -> None:
    runs = all_coded_runs(seeds=3, pruned_seeds=2)
    assert [(run.seed, run.pruned_seed, run.name) for run in runs] == [
        (0, 0, PRUNED),
        (1, 1, PRUNED),
        (0, 0, "int8"),
        (0, 0, "4-bit codebook"),
        (1, 1, "int8"),
        (1, 1, "4-bit codebook"),
        (2, 0, "int8"),
        (2, 0, "4-bit codebook"),
        (0, 0, "int8, int8 activations"),
        (1, 1, "int8, int8 activations"),
        (2, 0, "int8, int8 activations"),
    ]


def test_a_run_finds_its_row() -> None:
    rows = [
        {"seed": 2, "pruned_seed": 0, "name": "int8", "accuracy": 0.5},
        {"seed": 2, "pruned_seed": 1, "name": "int8", "accuracy": 0.6},
    ]
    run = CodedRun(seed=2, pruned_seed=1, name="int8")
    assert row_of(run, rows) == rows[1]
    assert row_of(replace(run, name=PRUNED), rows) is None


def test_names_of_files() -> None:
    names = [file_name(name, 1) for name in (PRUNED, "4-bit codebook", "int8, int8 activations")]
    expected = ["pruned-1.safetensors", "4-bit-codebook-1.safetensors", "int8-int8-activations-1.safetensors"]
    assert names == expected


def test_key_is_of_values_and_contents_not_of_paths(tmp_path: Path) -> None:
    other_folder = tmp_path / "other"
    other_folder.mkdir()
    one, same = experiment_in(tmp_path), experiment_in(other_folder)
    assert one.key == same.key
    assert len({one.key, replace(one, epochs=3).key, replace(one, sparsity=0.8).key}) == 3
    one.dense.write_bytes(b"others")
    assert one.key != same.key
