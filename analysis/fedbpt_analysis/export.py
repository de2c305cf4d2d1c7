"""The soft prompt of a run for other programs: what `fedbpt export` calls, which names the options."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import safetensors.numpy

from . import output, program
from .errors import AnalysisError
from .files import RunError, opened, text_of, texts_of
from .output import Part
from .settings import Value, parse

TENSOR = "prompt_embeddings"  # what PEFT calls it
ROUNDS = ("best", "last")
ATTEMPTS = 10
# Of /inputs; files of earlier versions lack some.
INPUTS = ("model", "model_sha256", "model_family", "tokenizer_sha256", "task", "readout", "template")
Fact = str | int | list[str]


@dataclass(frozen=True)
class Prompt:
    """`vectors` [P, hidden size] = A z + p0 after the round `round`; `facts`: what they belong to."""

    round: int
    z: np.ndarray
    vectors: np.ndarray
    mode: str
    facts: dict[str, Fact]


def read(path: Path, which: str, fedbpt: str) -> Prompt:
    """The prompt of the round `which`; the program makes the digest. Where a run has gone on meanwhile, both are read once more."""
    for _ in range(ATTEMPTS):
        before = _stamp(path)
        digest = program.call(fedbpt, "show", "--digest", program.file_argument(path), named=False).strip()
        with opened(path) as file:
            prompt = _read(file, which, digest)
        if _stamp(path) == before:
            return prompt
    raise RunError(f"{path}: the run writes it faster than it can be read; export it when the run has ended")


def _stamp(path: Path) -> tuple[int, int]:
    """Changes whenever the file is replaced."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def _read(file: h5py.File, which: str, digest: str) -> Prompt:
    result, inputs = file["result"], file["inputs"].attrs
    round_ = int(result.attrs[f"{which}_round"])
    if round_ < 0:
        raise RunError(f"{file.filename}: there is no best round, because the run had no dev samples; take the last with --round last")
    try:
        settings = parse(text_of(file["config"].attrs["resolved"]))
        mode, seed = str(settings["prompt.mode"]), int(settings["run.seed"])
    except ValueError as error:
        raise RunError(f"{file.filename}: {error}") from error
    facts: dict[str, Fact] = {"prompt_mode": mode, "seed": seed, "round": round_, "run_digest": digest}
    facts |= {name: text_of(inputs[name]) for name in INPUTS if name in inputs}
    if "label_words" in inputs:
        facts["label_words"] = texts_of(inputs["label_words"])
    scoring = str(settings.get("model.label_scoring", "auto"))
    if scoring != "auto":  # with which every label is one token
        facts["label_scoring"] = scoring
    deep = str(settings.get("prompt.deep", "none"))
    vectors = _array(result[f"{which}_prompt"], 2, np.float32)
    if deep != "none":
        facts["prompt_deep"] = deep
        vectors = _by_layer(file, vectors, settings)
    z = _array(result[f"{which}_z"], 1, np.float64)
    if settings.get("prompt.projection") == "words":
        facts["prompt_words"] = _words(file, z)
    facts |= {name: text_of(file.attrs[name]) for name in ("program_version", "git_commit")}
    return Prompt(round_, z, vectors, mode, facts)


def _words(file: h5py.File, z: np.ndarray) -> list[str]:
    """The words that z numbers."""
    words = texts_of(file["inputs/vocabulary"].attrs["words"]) if "inputs/vocabulary" in file else []
    if not ((z >= 0) & (z < len(words)) & (z == np.floor(z))).all():
        raise RunError(f"{file.filename}: z holds numbers that no word has; the file is damaged")
    return [words[int(number)] for number in z]


def _by_layer(file: h5py.File, vectors: np.ndarray, settings: dict[str, Value]) -> np.ndarray:
    """[L P, H] as [L, P, H]."""
    n_tokens = int(str(settings["prompt.tokens"]))
    if len(vectors) == 0 or len(vectors) % n_tokens != 0:
        raise RunError(f"{file.filename}: its prompt has {len(vectors)} rows, which are no layers of {n_tokens}; the file is damaged")
    return vectors.reshape(-1, n_tokens, vectors.shape[1])


def _array(dataset: h5py.Dataset, rank: int, kind: type) -> np.ndarray:
    if not isinstance(dataset, h5py.Dataset) or len(dataset.shape or ()) != rank:
        raise RunError(f"{dataset.file.filename}: {dataset.name} has the wrong shape; the file is damaged")
    values: np.ndarray = np.asarray(dataset[...], dtype=kind)
    if not np.isfinite(values).all():
        raise RunError(f"{dataset.file.filename}: {dataset.name} holds values that are not finite; no model can use it")
    return values


def npz(prompt: Prompt) -> bytes:
    """One array for each fact beside prompt and z; numpy.load reads them without pickle."""
    archive = io.BytesIO()
    entries: Any = {"z": prompt.z, TENSOR: prompt.vectors} | {name: np.array(fact) for name, fact in prompt.facts.items()}
    np.savez(archive, **entries)
    return archive.getvalue()


def _as_texts(facts: dict[str, Fact]) -> dict[str, str]:
    """Metadata are texts, whatever they stand for."""
    return {name: json.dumps(fact, ensure_ascii=False, separators=(",", ":")) if isinstance(fact, list) else str(fact)
            for name, fact in facts.items()}


def _safetensors(tensors: dict[str, np.ndarray], facts: dict[str, Fact]) -> bytes:
    """The library puts the metadata in an order that is another each time; here they have that of the facts."""
    metadata = _as_texts(facts)
    made = safetensors.numpy.save(tensors, metadata)
    end = 8 + int.from_bytes(made[:8], "little")
    header = json.dumps({"__metadata__": metadata} | {name: value for name, value in json.loads(made[8:end]).items() if name in tensors},
                        ensure_ascii=False, separators=(",", ":")).encode()
    header = header.ljust(-(-len(header) // 8) * 8)
    return len(header).to_bytes(8, "little") + header + made[end:]


def tensors(prompt: Prompt) -> bytes:
    return _safetensors({"z": prompt.z, TENSOR: prompt.vectors}, prompt.facts)


def _is_causal(prompt: Prompt) -> bool:
    """Whether the model is a decoder, read at the last token."""
    return prompt.facts.get("readout") == "last"


def adapter(prompt: Prompt) -> dict[str, bytes]:
    """A prompt-tuning adapter of Hugging Face PEFT, file by file. Its configuration has only keys that PEFT has always known; those that
    are left out (layers, heads, ...) PEFT fills in from the base model when it loads the adapter (task FEATURE_EXTRACTION: an encoder's
    own outputs come back). It comes last: without it nobody takes the folder for an adapter."""
    n_tokens, n_hidden = prompt.vectors.shape
    config = {"base_model_name_or_path": prompt.facts["model"], "inference_mode": True, "num_transformer_submodules": 1,
              "num_virtual_tokens": n_tokens, "peft_type": "PROMPT_TUNING", "prompt_tuning_init": "RANDOM",
              "task_type": "CAUSAL_LM" if _is_causal(prompt) else "FEATURE_EXTRACTION", "token_dim": n_hidden}
    return {"adapter_model.safetensors": _safetensors({TENSOR: prompt.vectors}, prompt.facts | {"format": "pt"}),
            "adapter_config.json": json.dumps(config, ensure_ascii=False, indent=2).encode()}


def _check_mode(path: Path, prompt: Prompt) -> None:
    """PEFT's prompt tuning puts vectors before the word embeddings, and nothing else. For a decoder mode cat does the same."""
    if "prompt_deep" in prompt.facts:
        raise AnalysisError(f"{path} has a prompt for every layer (prompt.deep {prompt.facts['prompt_deep']}); PEFT's prompt tuning can "
                            "only put vectors in place of word embeddings before the text: use --format safetensors or npz")
    if prompt.mode != "input" and not (prompt.mode == "cat" and _is_causal(prompt)):
        added = f"is added to the embeddings of {'the first' if _is_causal(prompt) else 'fixed'} words of the text"
        what = added if prompt.mode == "add" else "gets no position embeddings and no LayerNorm"
        raise AnalysisError(f"{path} has prompt mode {prompt.mode}, whose prompt {what}; PEFT's prompt tuning can only put vectors in "
                            "place of word embeddings before the text (mode input): use --format safetensors or npz")


def _write_file(make: Callable[[Prompt], bytes], kind: output.Kind) -> Callable[[Path, Prompt, bool], None]:
    return lambda path, prompt, overwrite: output.write_parts([Part(path, make(prompt), kind)], overwrite)


def _write_adapter(folder: Path, prompt: Prompt, overwrite: bool) -> None:
    kinds = (output.SAFETENSORS, output.JSON)
    parts = [Part(folder / name, content, kind) for (name, content), kind in zip(adapter(prompt).items(), kinds, strict=True)]
    made = not folder.exists()
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise AnalysisError(f"{folder}: the folder cannot be made: {error.strerror}; choose another --output") from error
    try:
        output.write_parts(parts, overwrite)
    except AnalysisError:
        if made and not any(folder.iterdir()):
            folder.rmdir()
        raise


FORMATS: dict[str, Callable[[Path, Prompt, bool], None]] = {
    "peft": _write_adapter,
    "npz": _write_file(npz, output.ZIP),
    "safetensors": _write_file(tensors, output.SAFETENSORS),
}


def export(arguments: argparse.Namespace) -> int:
    path, form, which = Path(arguments.run), arguments.format, arguments.round
    if form not in FORMATS:
        raise AnalysisError(f"--format is '{form}'; it must be peft, npz or safetensors")
    if which not in ROUNDS:
        raise AnalysisError(f"--round is '{which}'; it must be best or last")
    prompt = read(path, which, arguments.program)
    if form == "peft":
        _check_mode(path, prompt)
    place = Path(arguments.output or f"{path.with_suffix('') if path.suffix == '.h5' else path}.{form}")
    FORMATS[form](place, prompt, arguments.overwrite)
    output.say(f"{place}: prompt {list(prompt.vectors.shape)} of round {prompt.round} of {path}")
    if "prompt_words" in prompt.facts:
        output.say(f"words: {' '.join(prompt.facts['prompt_words'])}")
    return 0


def main(words: Sequence[str] | None = None) -> int:
    """The command line that src/cli/export.c makes; its exit code."""
    parser = argparse.ArgumentParser(prog="fedbpt export", add_help=False)
    overwrite = parser.add_mutually_exclusive_group(required=True)
    overwrite.add_argument("--overwrite", action="store_true")
    overwrite.add_argument("--keep", action="store_true", help="what is there already")
    for name in ("program", "run", "format", "round"):
        parser.add_argument(name)
    parser.add_argument("output", nargs="?")
    return output.guarded("fedbpt", lambda: export(parser.parse_args(words)))


if __name__ == "__main__":
    sys.exit(main())
