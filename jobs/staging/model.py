"""A model folder as Hugging Face lays it out: is it complete, and what does the data preparation need from it?"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from .archives import sha256_of
from .errors import UserError

# Model types whose position numbers start behind the padding index.
OFFSET_TYPES = frozenset({"roberta", "xlm-roberta", "camembert", "roberta-prelayernorm", "xlm-roberta-xl"})
INDEX = "model.safetensors.index.json"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON object")
    return value


def _weight_map(folder: Path) -> dict[str, set[str]]:
    """Weight file name -> names of the tensors the index expects in it (empty without an index)."""
    if (folder / INDEX).is_file():
        tensors = read_json(folder / INDEX).get("weight_map")
        if not isinstance(tensors, dict) or not tensors:
            raise UserError(f"{folder / INDEX}: has no weight_map")
        files: dict[str, set[str]] = {}
        for tensor, file in tensors.items():
            files.setdefault(file, set()).add(tensor)
        return files
    if (folder / "model.safetensors").is_file():
        return {"model.safetensors": set()}
    if list(folder.glob("*.safetensors")):
        raise UserError(f"{folder}: has *.safetensors, but neither model.safetensors nor {INDEX}; name the file model.safetensors")
    if list(folder.glob("pytorch_model*.bin")):
        raise UserError(
            f"{folder}: holds pytorch_model.bin only; convert it once, where transformers is installed, with "
            f"AutoModelForMaskedLM.from_pretrained(FOLDER).save_pretrained(OUT, safe_serialization=True), and give OUT"
        )
    raise UserError(f"{folder}: has no model.safetensors and no {INDEX}")


def weight_files(folder: Path) -> list[str]:
    """Names of the weight files that belong to the model."""
    return sorted(_weight_map(folder))


def check_model(folder: Path) -> int:
    """Checks that a model folder is complete; returns its number of tensors."""
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder")
    config = read_json(folder / "config.json")
    if "model_type" not in config or "vocab_size" not in config:
        raise UserError(f"{folder / 'config.json'}: lacks model_type or vocab_size; is this a Hugging Face model folder?")
    if not (folder / "tokenizer.json").is_file():
        raise UserError(
            f"{folder}: has no tokenizer.json (the fast tokenizer); make it once, where transformers is installed, with "
            f"AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
        )
    read_json(folder / "tokenizer.json")
    return sum(_check_weights(folder / name, tensors) for name, tensors in _weight_map(folder).items())


def _check_weights(path: Path, expected: set[str]) -> int:
    if not path.is_file():
        raise UserError(f"{path}: is named in {INDEX}, but missing; download it again")
    try:
        with safe_open(path, framework="numpy") as file:
            names = set(file.keys())
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a complete safetensors file ({error}); download it again") from None
    missing = sorted(expected - names)
    if missing:
        raise UserError(f"{path}: lacks the tensor {missing[0]} that {INDEX} places there ({len(missing)} missing)")
    return len(names)


@dataclass(frozen=True)
class ModelInfo:
    """What data preparation reads of a model. `positions`: the longest sequence its position embeddings allow."""

    folder: Path
    model_type: str
    vocab_size: int
    positions: int
    tokenizer_sha256: str


def load_info(folder: Path) -> ModelInfo:
    """Reads config.json and the tokenizer's hash; the weights are not needed."""
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such model folder; stage one in with jobs/prepare_model.py")
    config = read_json(folder / "config.json")
    model_type = str(config.get("model_type", ""))
    vocab_size = _positive(config, "vocab_size", folder)
    positions = _positive(config, "max_position_embeddings", folder)
    if model_type in OFFSET_TYPES:
        pad = config.get("pad_token_id", 1)
        positions -= (1 if pad is None else int(pad)) + 1
    tokenizer = folder / "tokenizer.json"
    if not tokenizer.is_file():
        raise UserError(f"{folder}: has no tokenizer.json; stage the model in with jobs/prepare_model.py")
    return ModelInfo(folder, model_type, vocab_size, positions, sha256_of(tokenizer))


def _positive(config: dict[str, Any], key: str, folder: Path) -> int:
    value = config.get(key)
    if not isinstance(value, int) or value < 1:
        raise UserError(f"{folder / 'config.json'}: {key} must be a positive integer, not {value!r}")
    return value
