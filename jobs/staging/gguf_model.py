"""A GGUF file to a Hugging Face folder: config.json, model.safetensors and the tokenizer's files.

Weights keep their type where safetensors has it (F32, F16, BF16). Quantised ones become F16, as the scales of their blocks are: rounding
takes at most 2^-11 of a value. Of the step between two values of its block, which is what quantisation itself has lost, that is at most
1/170 in SmolLM2-135M's 4-bit blocks and 1/16 in 8-bit ones, eight times less than BF16 would take; F32 would double the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from .errors import UserError
from .gguf_families import FAMILIES, Array, Source, make_config
from .gguf_tokenizer import make_tokenizer
from .safetensors_file import Tensor, write_safetensors

KEPT = {"F32": "F32", "F16": "F16", "BF16": "BF16"}
F16_MAX = 65504.0
# Names before the first dot of keys that say nothing of what is computed, but for those that are looked at here.
OTHER_KEYS = ("GGUF", "general", "tokenizer", "quantize", "split")
ROPE_FACTORS = "rope_freqs.weight"
LAYER_NUMBER = re.compile(r"(?<=blk\.)\d+(?=\.)")


@dataclass(frozen=True)
class File:
    """An open GGUF file. `keys`: all of its keys with their values."""

    path: Path
    keys: dict[str, Any]
    tensors: dict[str, gguf.ReaderTensor]


def convert(path: Path, folder: Path) -> None:
    """Writes the folder's files. Everything but a tensor's values is checked before the first is written."""
    file = _open(path)
    source = _source(file)
    config = make_config(source)
    tensors = _tensors(file, source, config)
    tokenizer = make_tokenizer(path, file.keys, config["vocab_size"])
    config |= {f"{role}_token_id": number for role, number in tokenizer.ids.items() if role != "unk"}
    config["torch_dtype"] = "bfloat16" if all(tensor.dtype == "BF16" for tensor in tensors) else "float16"
    for name, value in (("config.json", config), ("tokenizer_config.json", tokenizer.config)):
        (folder / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    tokenizer.backend.save(str(folder / "tokenizer.json"))
    write_safetensors(folder / "model.safetensors", tensors)


def _open(path: Path) -> File:
    try:
        reader = gguf.GGUFReader(path)
        keys = {name: field.contents() for name, field in reader.fields.items()}
    except (ValueError, KeyError, IndexError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a complete GGUF file ({error})") from None
    return File(path, keys, {tensor.name: tensor for tensor in reader.tensors})


def _source(file: File) -> Source:
    architecture = str(file.keys.get("general.architecture", ""))
    if architecture not in FAMILIES:
        raise UserError(f"{file.path}: general.architecture is {architecture!r}; those that are converted are {', '.join(FAMILIES)}")
    for key, wanted in (("general.type", "model"), ("split.count", 0)):
        value = file.keys.get(key, wanted)
        if value != wanted and not (key == "split.count" and value == 1):
            raise UserError(f"{file.path}: {key} is {value!r}: only whole models in one file are converted")
    prefix = f"{architecture}."
    stray = next((key for key in file.keys if not key.startswith((prefix, *(f"{name}." for name in OTHER_KEYS)))), None)
    if stray:
        raise UserError(f"{file.path}: the key {stray} belongs to another architecture than {architecture}; it is not converted")
    if "token_embd.weight" not in file.tensors:
        raise UserError(f"{file.path}: has no tensor token_embd.weight")
    factors = np.array(file.tensors[ROPE_FACTORS].data, np.float32) if ROPE_FACTORS in file.tensors else None
    shapes = {name: tuple(int(n) for n in reversed(tensor.shape)) for name, tensor in file.tensors.items()}
    values = {key.removeprefix(prefix): value for key, value in file.keys.items() if key.startswith(prefix)}
    return Source(file.path, architecture, values, shapes, factors)


def _tensors(file: File, source: Source, config: dict[str, Any]) -> list[Tensor]:
    """All tensors of the folder. A name that the family does not know would be a part of the model that is left out: refused."""
    family = FAMILIES[source.architecture]
    tensors = []
    for name, tensor in file.tensors.items():
        if name == ROPE_FACTORS:
            continue
        number = LAYER_NUMBER.search(name)
        pattern = LAYER_NUMBER.sub("{}", name)
        if pattern not in family.tensors:
            raise UserError(f"{file.path}: {source.architecture} models with a tensor {name} are not converted")
        _check_type(file.path, tensor)
        rearrange = family.rearrange.get(pattern)
        target = family.tensors[pattern].format(number[0] if number else "")
        shape = source.shapes[name]
        if rearrange is not None:
            shape = rearrange(np.empty(shape, np.uint8), config).shape
        tensors.append(Tensor(target, KEPT.get(tensor.tensor_type.name, "F16"), shape, _maker(file.path, tensor, rearrange, config)))
    return tensors


def _check_type(path: Path, tensor: gguf.ReaderTensor) -> None:
    """Refuses a quantisation that cannot be undone, by its first row."""
    kind = tensor.tensor_type.name
    if kind in KEPT:
        return
    try:
        gguf.dequantize(tensor.data[:1], tensor.tensor_type)
    except (NotImplementedError, ValueError, KeyError):
        raise UserError(f"{path}: the tensor {tensor.name} is of type {kind}, which the package gguf does not read") from None


def _maker(
    path: Path, tensor: gguf.ReaderTensor, rearrange: Callable[[Array, dict[str, Any]], Array] | None, config: dict[str, Any]
) -> Callable[[], Array]:
    """How to make a tensor's values when its turn comes."""

    def make() -> Array:
        values: Array = tensor.data
        if tensor.tensor_type.name == "BF16":
            values = values.view(np.uint16)
        elif tensor.tensor_type.name not in KEPT:
            exact = gguf.dequantize(tensor.data, tensor.tensor_type)
            if not np.abs(exact).max() <= F16_MAX:
                raise UserError(f"{path}: the tensor {tensor.name} has values beyond {F16_MAX:.0f}, which F16 cannot hold")
            values = exact.astype(np.float16)
        return values if rearrange is None else rearrange(values, config)

    return make
