"""Weights rounded to bfloat16, and vocabularies cut to what data sets use."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file
from staging.smaller import round_bits
from test_model import tensors

N_ROWS = 1100


def read_bf16(path: Path) -> dict[str, np.ndarray]:
    """All tensors as fp32; breaks if one is of another type."""
    content = path.read_bytes()
    begin = 8 + int.from_bytes(content[:8], "little")
    header = {name: entry for name, entry in json.loads(content[8:begin]).items() if name != "__metadata__"}
    assert {entry["dtype"] for entry in header.values()} == {"BF16"}
    bits = {name: np.frombuffer(content[begin + entry["data_offsets"][0] : begin + entry["data_offsets"][1]], "<u2").reshape(entry["shape"])
            for name, entry in header.items()}
    return {name: (value.astype(np.uint32) << 16).view(np.float32) for name, value in bits.items()}


@pytest.fixture
def source(bert: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """A folder with random weights in one file, and these."""
    draw = np.random.default_rng(1)
    weights = {name: draw.standard_normal(value.shape).astype(np.float32) for name, value in tensors().items()}
    save_file(weights, bert / "model.safetensors")
    return bert, weights


def write_data(path: Path, tokens: list[int], mask: int) -> Path:
    with h5py.File(path, "w") as file:
        file["train/tokens"] = np.array(tokens, np.int32)
        file.attrs["mask_id"] = mask
        file.attrs["label_token_ids"] = np.array([-1, 7], np.int32)
    return path


def test_rounding_is_to_the_nearest() -> None:
    """Against the definition: no bfloat16 number is nearer, and of two that are as near the one whose last bit is 0 is taken."""
    draw = np.random.default_rng(2)
    values = draw.integers(0, 2**32, 20_000, np.uint32).view(np.float32)
    values = np.concatenate([values[np.abs(values) < 1e38], np.array([0x3F808000, 0x3F818000, 0xBF808000, 1], np.uint32).view(np.float32)])
    bits = round_bits(values)
    exact = values.astype(np.float64)
    for step in (-1, 1):
        other = (bits.astype(np.int64) + step).astype(np.uint16)
        near, far = ((b.astype(np.uint32) << 16).view(np.float32).astype(np.float64) for b in (bits, other))
        comparable = np.isfinite(far) & (np.sign(far) * np.sign(near) >= 0)
        tie = np.abs(far - exact) == np.abs(near - exact)
        assert np.all((np.abs(far - exact) >= np.abs(near - exact))[comparable]) and not np.any(tie & comparable & (bits % 2 == 1))
    special = np.array([np.inf, -np.inf, np.nan, np.float32(3.4e38)], np.float32)
    assert [f"{b:x}" for b in round_bits(special)][:2] == ["7f80", "ff80"]
    assert np.isnan((round_bits(special).astype(np.uint32) << 16).view(np.float32)[2])


def test_weights_are_rounded(call, source, tmp_path) -> None:
    """Breaks if a tensor is left out or stays wide, if config.json keeps the old type, or if the source is touched."""
    folder, weights = source
    before = (folder / "model.safetensors").read_bytes()
    result = call("prepare_model", folder, "--bf16", "--output", tmp_path / "out")
    assert result.code == 0, result.err
    made = read_bf16(tmp_path / "out" / "model.safetensors")
    assert made.keys() == weights.keys()
    assert all(np.abs(made[name] - weights[name]).max() <= 2**-8 * np.abs(weights[name]).max() for name in weights)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["torch_dtype"] == "bfloat16"
    assert (folder / "model.safetensors").read_bytes() == before


def test_vocabulary_is_cut(call, source, tmp_path) -> None:
    """Breaks if a used row is lost (a text's, a label's, a special token's, of any of the files), or a row of another matrix."""
    folder, weights = source
    data = [write_data(tmp_path / "a.h5", [5, 9], 4), write_data(tmp_path / "b.h5", [1099], 3)]
    assert call("prepare_model", folder, "--bf16", "--cut-to", *data, "--output", tmp_path / "out").code == 0
    made = read_bf16(tmp_path / "out" / "model.safetensors")
    words = made.pop("embeddings.word_embeddings.weight")
    assert set(np.flatnonzero(words.any(axis=1))) == {3, 4, 5, 7, 9, 1099}
    assert all(np.abs(made[name] - weights[name]).max() <= 2**-8 * np.abs(weights[name]).max() for name in made)


def test_refusals(call, source, tmp_path) -> None:
    folder, _ = source
    alone = call("prepare_model", folder, "--cut-to", write_data(tmp_path / "a.h5", [5], 4), "--output", tmp_path / "out")
    assert alone.code == 2 and "--bf16" in alone.err
    foreign = call("prepare_model", folder, "--bf16", "--cut-to", write_data(tmp_path / "b.h5", [N_ROWS], 4), "--output", tmp_path / "out")
    assert foreign.code == 2 and "b.h5" in foreign.err and "another model's data" in foreign.err
    assert not (tmp_path / "out").exists()
