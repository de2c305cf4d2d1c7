#!/usr/bin/env python3
"""Prompt-tuning adapters that Hugging Face PEFT saved, and the scores that it gives with them, for tests/cli/test_export.py.

Run by hand when a fixture is to change; the results are committed. Made with Python 3.11, torch 2.15.0, transformers 5.23.0,
peft 0.21.2, safetensors 0.8.0, h5py 3.16.0, numpy 2.4.6, in the checkout's root, with a built program:

    FEDBPT=build/release/bin/fedbpt python tests/golden/make_peft_fixture.py      # tests/golden/data/peft_*

Each peft_NAME/ holds what save_pretrained leaves of an adapter whose vectors are the prompt of a run's last round
(adapter_config.json, adapter_model.safetensors), and cases.json: the run's z and prompt, token sequences, and the label logits of
PEFT's model in float64, all sequences in one padded batch.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import peft
import peft_cases
import torch
import toy
import transformers as hf

PROGRAM = os.environ.get("FEDBPT", "build/release/bin/fedbpt")


def run(case: peft_cases.Case, folder: Path) -> tuple[Path, Path]:
    """A finished run and its data set."""
    data, output = toy.write(folder / "data.h5", case.shape), folder / "run.h5"
    config = toy.write_settings(folder / "settings.yaml", peft_cases.settings(case, data, output))
    subprocess.run([PROGRAM, "run", str(config)], check=True)
    return data, output


def exported(output: Path) -> tuple[np.ndarray, np.ndarray]:
    """z and prompt of the last round."""
    archive = output.with_suffix(".npz")
    subprocess.run([PROGRAM, "export", str(output), "--format", "npz", "--round", "last", "--output", str(archive)], check=True)
    with np.load(archive) as arrays:
        return arrays["z"], arrays["prompt_embeddings"]


def adapter(case: peft_cases.Case, prompt: np.ndarray) -> peft.PeftModel:
    """A new adapter of PEFT's own, with these vectors."""
    base = getattr(hf, case.auto_class).from_pretrained(os.path.relpath(case.model, peft_cases.ROOT), attn_implementation="eager")
    model = peft.get_peft_model(base, peft.PromptTuningConfig(task_type=case.task, num_virtual_tokens=len(prompt)))
    with torch.no_grad():
        model.prompt_encoder["default"].embedding.weight.copy_(torch.from_numpy(prompt))
    return model.eval()


def make(case: peft_cases.Case) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data, output = run(case, Path(folder))
        texts = peft_cases.read_texts(data)
        z, prompt = exported(output)
    shutil.rmtree(case.folder, ignore_errors=True)
    model = adapter(case, prompt)
    model.save_pretrained(case.folder)
    (case.folder / "README.md").unlink()
    about = {"z": z.tolist(), "prompt": prompt.tolist(), **texts, "logits": peft_cases.scores(model.to(torch.float64), texts)}
    (case.folder / "cases.json").write_text(json.dumps(about, separators=(",", ":")) + "\n", encoding="utf-8")


def main() -> None:
    os.chdir(peft_cases.ROOT)
    for case in peft_cases.CASES:
        make(case)


if __name__ == "__main__":
    main()
