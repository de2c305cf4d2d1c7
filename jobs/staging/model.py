"""A model folder as Hugging Face lays it out: is it complete, and what does the data preparation need from it?

What a model is and whether it can be run is decided by the program (program.py). What stands here beside it is what is needed
where the program is not built: which files to copy, by the rule of src/model/weight_files.h.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer, normalizers

from .archives import sha256_of
from .errors import UserError
from .program import describe_model

# Model types whose position numbers start behind the padding index.
OFFSET_TYPES = frozenset({"roberta", "xlm-roberta", "camembert", "roberta-prelayernorm", "xlm-roberta-xl"})
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
SHARD = re.compile(r"model-\d.*-of-\d.*\.safetensors")
# The settings of a sentence encoder's Transformer module; the first that exists counts, as in sentence-transformers.
SENTENCE_SETTINGS = tuple(
    f"sentence_{name}_config.json" for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
MODULES = "modules.json"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file, read as strictly as the program does (src/model/json_file.h)."""
    value = read_strictly(path)
    if not isinstance(value, dict):
        raise UserError(f"{path}: is not a JSON object")
    return value


def read_strictly(path: Path) -> Any:
    """JSON from a file: UTF-8, no key twice, whole numbers of 64 bits, finite fractions, and no text that UTF-8 lacks."""

    def refuse(what: str) -> NoReturn:
        raise UserError(f"{path}: is not valid JSON ({what})")

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        twice = next((key for number, key in enumerate(keys) if key in keys[:number]), None) if len(set(keys)) < len(keys) else None
        return dict(pairs) if twice is None else refuse(f"the key {twice!r} stands twice in one object")

    def whole(text: str) -> int:
        return int(text) if len(text) < 21 and -(2**63) <= int(text) < 2**63 else refuse(f"{text[:30]} is too large a number")

    def fraction(text: str) -> float:
        return float(text) if math.isfinite(float(text)) else refuse(f"{text} is too large a number")

    try:
        text = path.read_text(encoding="utf-8")
        value = json.loads(text, object_pairs_hook=members, parse_int=whole, parse_float=fraction, parse_constant=refuse)
    except FileNotFoundError:
        raise UserError(f"{path}: cannot be read (there is no such file)") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        refuse(str(error))
    for string in _strings(value):
        if "\0" in string or not string.isascii() and any("\ud800" <= letter <= "\udfff" for letter in string):
            refuse(f"{string!r} is not a text")
    return value


def _strings(value: Any) -> Iterator[str]:
    """Every string in a JSON value, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _strings(part)


def weight_files(folder: Path) -> dict[str, set[str]]:
    """The files that hold the model's weights -> names of the tensors that an index expects in each (empty without one)."""
    names = {path.name for path in folder.iterdir()}
    files: dict[str, set[str]] = {}
    if INDEX in names:
        files = _indexed_files(folder)
    elif SINGLE in names:
        files = {SINGLE: set()}
    else:
        raise UserError(f"{folder}: has neither {SINGLE} nor {INDEX}; download it again, or convert its weights to safetensors")
    if SINGLE in names and set(files) != {SINGLE}:
        raise UserError(f"{folder}: has {SINGLE} and, for other weights, {INDEX}; remove the one that is stale")
    stray = next((name for name in sorted(names) if SHARD.fullmatch(name) and name not in files), None)
    if stray:
        raise UserError(f"{folder}: has the shard {stray} beside {INDEX if INDEX in names else SINGLE}; remove the one that is stale")
    if "adapter_config.json" in names:
        raise UserError(f"{folder}: has adapter_config.json; merge the adapter into the weights, or remove it")
    return files


def _indexed_files(folder: Path) -> dict[str, set[str]]:
    tensors = read_json(folder / INDEX).get("weight_map")
    if not isinstance(tensors, dict) or not tensors:
        raise UserError(f"{folder / INDEX}: has no weight_map")
    files: dict[str, set[str]] = {}
    for tensor, file in tensors.items():
        if not isinstance(file, str) or not file or "/" in file:
            raise UserError(f"{folder / INDEX}: tensor {tensor!r} is not mapped to a file in the same folder")
        files.setdefault(file, set()).add(tensor)
    return files


def module_files(folder: Path) -> list[str]:
    """The settings of a sentence encoder's modules, each in a folder of its own."""
    modules = read_strictly(folder / MODULES) if (folder / MODULES).is_file() else []
    paths = [module.get("path") for module in modules if isinstance(module, dict)] if isinstance(modules, list) else []
    return [f"{path}/config.json" for path in paths if isinstance(path, str) and path and not path.startswith("/") and ".." not in path]


@dataclass(frozen=True)
class Checked:
    """A folder that is complete. `readouts`: those that it can be run with; empty where the program was not asked."""

    files: list[str]
    n_tensors: int
    readouts: str = ""


def _readouts(about: dict[str, Any]) -> str:
    """A model without a head says so by its name; why a sentence encoder cannot be used as one does not show."""
    readouts = about["readouts"]
    shown = {"embedding": f"embedding (pooling {about['pooling']})"}
    possible = [shown.get(name, name) for name in readouts if readouts[name]["supported"]]
    refusal = readouts["embedding"]["refusal"] if not readouts["last"]["supported"] else None
    return f"readouts: {', '.join(possible)}" + (f"; not embedding: {refusal}" if refusal else "")


def check_model(folder: Path) -> Checked:
    """Checks that a model folder is complete and can be run."""
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder")
    about = describe_model(folder)
    if not (folder / "tokenizer.json").is_file():
        raise UserError(
            f"{folder}: has no tokenizer.json (the fast tokenizer); make it once, where transformers is installed, with "
            f"AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
        )
    _check_syntax(folder / "tokenizer.json")
    if about is not None:
        return Checked(list(about["weights"]["files"]), int(about["weights"]["tensors"]), _readouts(about))
    read_json(folder / "config.json")
    files = weight_files(folder)
    return Checked(sorted(files), sum(_check_weights(folder / name, tensors) for name, tensors in files.items()))


def _check_syntax(path: Path) -> None:
    """A vocabulary may hold what strict JSON files may not; that it was downloaded to its end is what matters here."""
    try:
        json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not valid JSON ({error})") from None


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
    """Facts of a model for data preparation. `positions`: the longest sequence its position embeddings allow; `max_seq_length` and
    `lower_case`: what a sentence encoder does to texts (None, False: nothing)."""

    folder: Path
    model_type: str
    vocab_size: int
    positions: int
    tokenizer_sha256: str
    max_seq_length: int | None = None
    lower_case: bool = False


def load_info(folder: Path, readout: str) -> ModelInfo:
    """Checks that the model can be read so, and reads config.json and the tokenizer's hash. Weights may be absent."""
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such model folder; stage one in with jobs/prepare_model.py")
    has_weights = any(next(folder.glob(pattern), None) for pattern in ("*.safetensors", INDEX, "pytorch_model*.bin"))
    describe_model(folder, readout, config_only=not has_weights)
    config = read_json(folder / "config.json")
    model_type = str(config.get("model_type", ""))
    vocab_size = _positive(config, "vocab_size", folder)
    positions = _positive(config, "n_positions" if model_type == "gpt2" and "n_positions" in config else "max_position_embeddings", folder)
    if model_type in OFFSET_TYPES:
        positions -= _count(config.get("pad_token_id", 1), "pad_token_id", folder / "config.json") + 1
    tokenizer = folder / "tokenizer.json"
    if not tokenizer.is_file():
        raise UserError(f"{folder}: has no tokenizer.json; stage the model in with jobs/prepare_model.py")
    longest, lower_case = _sentence_settings(folder) if readout == "embedding" else (None, False)
    return ModelInfo(folder, model_type, vocab_size, positions, sha256_of(tokenizer), longest, lower_case)


def _sentence_settings(folder: Path) -> tuple[int | None, bool]:
    """Read how a sentence encoder changes a text before its tokens are made: where it cuts it, and whether it lowers its case."""
    path = next((folder / name for name in SENTENCE_SETTINGS if (folder / name).is_file()), None)
    if path is None or not (folder / MODULES).is_file():
        return None, False
    settings = read_json(path)
    longest, lower_case = settings.get("max_seq_length"), settings.get("do_lower_case")
    if lower_case not in (None, True, False) or isinstance(lower_case, int) and not isinstance(lower_case, bool):
        raise UserError(f"{path}: do_lower_case is neither true nor false")
    return None if longest is None else _count(longest, "max_seq_length", path), bool(lower_case)


def lower_case(tokenizer: Tokenizer) -> None:
    """Lowers the case of every text before anything else is done to it, unless the tokenizer does so already."""
    normalizer = tokenizer.normalizer
    state = normalizer.__getstate__() if normalizer else b""
    if b'"Lowercase"' not in state and b'"lowercase":true' not in state:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *([normalizer] if normalizer else [])])


def _positive(config: dict[str, Any], key: str, folder: Path) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{folder / 'config.json'}: {key} must be a positive integer, not {value!r}")
    return value


def _count(value: Any, key: str, path: Path) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise UserError(f"{path}: {key} must be a whole number, not {value!r}")
    return value
