"""Makes a model folder's weights smaller: fp32 rounded to bfloat16, and rows of the vocabulary zeroed, which compress to nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from .errors import UserError
from .model import check_model, read_json
from .safetensors_file import Tensor, write_safetensors

Array = npt.NDArray[np.generic]
# As NumPy reads them: those of bfloat16 as bits, for which it has no type.
TYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
SPECIAL = ("bos_id", "eos_id", "mask_id", "pad_id", "unk_id", "label_token_ids")


def make_smaller(folder: Path, data: Sequence[Path]) -> None:
    """Writes every weight file again. Tensors of fp32 become bfloat16, and config.json says so. With data sets, rows of the vocabulary
    that none of them uses become zeros: of use for comparing backends on these data sets, and for nothing else. Tensors of other types
    than weights have are left out: no model's computation reads them."""
    config = read_json(folder / "config.json")
    n_rows = config.get("vocab_size")
    if not isinstance(n_rows, int):
        raise UserError(f"{folder / 'config.json'}: has no vocab_size")
    used = used_tokens(data, n_rows) if data else None
    for name in check_model(folder).files:
        if name.endswith(".safetensors"):
            _rewrite(folder / name, used)
    config["dtype" if "dtype" in config else "torch_dtype"] = "bfloat16"
    (folder / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def used_tokens(data: Sequence[Path], n_rows: int) -> npt.NDArray[np.bool_]:
    """For each row of the vocabulary, whether a text, a label or a special token of the data sets is read from it."""
    used = np.zeros(n_rows, bool)
    for path in data:
        with h5py.File(path, "r") as file:
            ids = [file[name][:] for name in ("train/tokens", "dev/tokens", "test/tokens", "labels/tokens") if name in file]
            ids += [np.atleast_1d(file.attrs[name]) for name in SPECIAL if name in file.attrs]
        tokens = np.concatenate(ids)
        if tokens.max(initial=0) >= n_rows:
            raise UserError(f"{path}: has token {tokens.max()}, but the vocabulary ends at {n_rows - 1}: it is another model's data")
        used[tokens[tokens >= 0]] = True
    return used


def _rewrite(path: Path, used: npt.NDArray[np.bool_] | None) -> None:
    part = path.with_name(f"{path.name}.part")
    n_header = int(np.fromfile(path, "<u8", 1)[0])
    with path.open("rb") as file:
        header = json.loads(file.read(8 + n_header)[8:])
    header.pop("__metadata__", None)
    write_safetensors(part, [_tensor(path, 8 + n_header, name, entry, used) for name, entry in header.items() if entry["dtype"] in TYPES])
    part.replace(path)


def _tensor(path: Path, begin: int, name: str, entry: dict[str, Any], used: npt.NDArray[np.bool_] | None) -> Tensor:
    dtype, shape = entry["dtype"], tuple(entry["shape"])

    def make() -> Array:
        offset = begin + entry["data_offsets"][0]
        values: Array = np.fromfile(path, TYPES[dtype], int(np.prod(shape)), offset=offset).reshape(shape)
        if used is not None and len(shape) == 2 and shape[0] == len(used):
            values[~used] = 0
        return round_bits(values) if dtype == "F32" else values

    return Tensor(name, "BF16" if dtype == "F32" else dtype, shape, make)


def round_bits(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """The 16-bit patterns of the nearest bfloat16 numbers, ties to even; a NaN stays one."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    odd = bits >> 16 & 1
    rounded = (bits + (0x7FFF + odd)) >> 16
    return np.where(np.isnan(values), bits >> 16 | 0x40, rounded).astype(np.uint16)
