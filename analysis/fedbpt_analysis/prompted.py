"""A frozen model under a soft prompt, in PyTorch and transformers: label logits, losses, and gradients by the prompt. The same numbers as
the program computes (ARCHITECTURE.md, "Prompt"); tests/analysis compares them with those of tests/golden/data. Needs the extra `gradients`:
nothing else in this package imports torch or transformers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
import transformers as hf

from .errors import AnalysisError

SEQUENCES = 32  # of one forward pass: memory only
CLASSES = {"mask": hf.AutoModelForMaskedLM, "embedding": hf.AutoModel, "last": hf.AutoModelForCausalLM}
hf.utils.logging.set_verbosity_error()
hf.utils.logging.disable_progress_bar()
OPTIMISERS = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}  # PyTorch's defaults: no momentum, no weight decay


@dataclass(frozen=True)
class Task:
    """How label logits are read: `label_ids` of the readouts mask and last, `label_texts` of the readout embedding."""

    readout: str
    mode: str
    loss: str
    scale: float
    label_ids: list[int]
    label_texts: list[list[int]]

    @classmethod
    def of(cls, data: h5py.File, mode: str, loss: str, scale: float) -> Task:
        """The task of a data set file. A label of several tokens is read at its first one (model.label_scoring)."""
        texts = []
        if "labels" in data:
            tokens, offsets = data["labels/tokens"][:].tolist(), data["labels/offsets"][:].tolist()
            texts = [tokens[first:end] for first, end in zip(offsets[:-1], offsets[1:], strict=True)]
        readout, ids = str(data.attrs["readout"]), data.attrs["label_token_ids"].tolist()
        return cls(readout, mode, loss, scale, [text[0] for text in texts] if readout == "last" and texts else ids, texts)


@dataclass(frozen=True)
class Samples:
    """Token sequences, the position in each where the model is read, and their labels."""

    tokens: list[list[int]]
    readout: list[int]
    labels: list[int]

    @classmethod
    def read(cls, data: h5py.File, split: str, rows: Sequence[int]) -> Samples:
        """Rows of a data set's split, in their order."""
        group = data[split]
        tokens, offsets = group["tokens"][:], group["offsets"][:]
        return cls([tokens[offsets[row] : offsets[row + 1]].tolist() for row in rows], group["readout"][:][rows].tolist(),
                   group["labels"][:][rows].tolist())

    def pieces(self) -> Iterator[Samples]:
        """Pieces of one forward pass each."""
        for first in range(0, len(self.tokens), SEQUENCES):
            piece = slice(first, first + SEQUENCES)
            yield Samples(self.tokens[piece], self.readout[piece], self.labels[piece])


class _Behind(torch.nn.Module):
    """Embeddings of a text with what stands in front of them: they are made as if nothing did (mode cat)."""

    def __init__(self, embeddings: torch.nn.Module) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.front: torch.Tensor | None = None

    def forward(self, *words: Any, **named: Any) -> torch.Tensor:
        """As the module called with the text's token ids alone; those of the rows in front are any."""
        ids = named["input_ids"] if "input_ids" in named else words[0]
        if self.front is None:
            return self.embeddings(*words, **named)
        n = self.front.shape[0]
        return torch.cat([self.front.expand(len(ids), -1, -1), self.embeddings(input_ids=ids[:, n:])], dim=1)


def _pooling(folder: Path) -> str:
    """mean or cls, as a sentence encoder's folder says; the program has refused anything else."""
    path = folder / "1_Pooling" / "config.json"
    about = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    is_cls = about.get("pooling_mode") in ("cls", ["cls"]) or bool(about.get("pooling_mode_cls_token"))
    return "cls" if is_cls else "mean"


class PromptedModel:
    """`prompt`: float32 [P, hidden size] in all of its functions, as is what they return of it."""

    def __init__(self, folder: Path, task: Task, dtype: torch.dtype = torch.float32) -> None:
        self.task, self.pooling = task, _pooling(folder)
        try:
            self.model: Any = CLASSES[task.readout].from_pretrained(folder, dtype=dtype, attn_implementation="eager", local_files_only=True)
        except (OSError, ValueError) as error:
            raise AnalysisError(f"{folder}: transformers cannot open the model: {error}") from error
        self.model.eval().requires_grad_(False)
        self.base = getattr(self.model, self.model.base_model_prefix, self.model)
        self.words = self.model.get_input_embeddings()
        self.hidden_size = int(self.words.weight.shape[1])
        self.dtype = dtype
        if task.readout != "last" and task.mode == "cat":
            self.base.embeddings = _Behind(self.base.embeddings)
        with torch.no_grad():
            self.labels = torch.stack([self._embed_label(text) for text in task.label_texts]) if task.readout == "embedding" else None

    # ---- Forward ----

    def _rows(self, tokens: list[list[int]], front: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and mask, padded at the end, with `front` rows in front that hold any token."""
        longest = max(map(len, tokens))
        ids = torch.zeros((len(tokens), front + longest), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, sequence in enumerate(tokens):
            ids[row, front : front + len(sequence)] = torch.tensor(sequence)
            mask[row, : front + len(sequence)] = 1
        return ids, mask

    def _hidden(self, tokens: list[list[int]], prompt: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor, int]:
        """Last hidden states [n, rows, H], the mask of the rows, and how many rows stand in front of each text."""
        mode = "none" if prompt is None else self.task.mode
        front = len(prompt) if prompt is not None and mode in ("cat", "input") else 0
        ids, mask = self._rows(tokens, front)
        if self.task.readout != "last" and mode in ("none", "cat", "add"):
            return self._encode(ids, mask, mode, prompt), mask, front
        x = self.words(ids[:, front:])
        if prompt is not None:
            n = len(prompt)
            x = torch.cat([prompt.expand(len(x), -1, -1), x] if front else [x[:, :n] + prompt, x[:, n:]], dim=1)
        return self.base(inputs_embeds=x, attention_mask=mask).last_hidden_state, mask, front

    def _encode(self, ids: torch.Tensor, mask: torch.Tensor, mode: str, prompt: torch.Tensor | None) -> torch.Tensor:
        """An encoder whose prompt comes behind the LayerNorm of the embeddings."""
        embeddings = self.base.embeddings
        if isinstance(embeddings, _Behind):
            embeddings.front = prompt
        hook = embeddings.register_forward_hook(lambda _module, _inputs, x: _added(x, prompt)) if mode == "add" else None
        try:
            return self.base(input_ids=ids, attention_mask=mask).last_hidden_state
        finally:
            if hook is not None:
                hook.remove()

    def _pooled(self, hidden: torch.Tensor, mask: torch.Tensor, front: int) -> torch.Tensor:
        """Embeddings of length 1 [n, H]: the mean of all rows, the prompt's among them, or the [CLS] row."""
        weights = mask[:, :, None].to(hidden.dtype)
        pooled = hidden[:, front] if self.pooling == "cls" else (hidden * weights).sum(1) / weights.sum(1)
        return torch.nn.functional.normalize(pooled, dim=1)

    def _embed_label(self, text: list[int]) -> torch.Tensor:
        return self._pooled(*self._hidden([text], None))[0]

    def _head(self, rows: torch.Tensor) -> torch.Tensor:
        """Logits of all words [n, vocabulary], of the rows that are read alone."""
        model = self.model
        if self.task.readout == "last":
            return model.get_output_embeddings()(rows)
        if hasattr(model, "vocab_transform"):  # DistilBERT's head is no module of its own
            return model.vocab_projector(model.vocab_layer_norm(model.activation(model.vocab_transform(rows))))
        return (model.lm_head if hasattr(model, "lm_head") else model.cls)(rows)

    def logits(self, prompt: torch.Tensor | None, samples: Samples) -> torch.Tensor:
        """Label logits [n, labels] of one forward pass; gradients flow to the prompt."""
        hidden, mask, front = self._hidden(samples.tokens, prompt)
        if self.labels is not None:
            return self.task.scale * self._pooled(hidden, mask, front) @ self.labels.T
        rows = hidden[torch.arange(len(hidden)), torch.tensor(samples.readout) + front]
        return self._head(rows)[:, self.task.label_ids]

    # ---- Losses ----

    def losses(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Loss of each sample [n], as kernels/backend.h defines them."""
        if self.task.loss == "ce":
            return torch.nn.functional.cross_entropy(logits, labels, reduction="none")
        right = logits.gather(1, labels[:, None])
        return torch.relu(2 - right + logits).sum(1) - 2  # less the label's own term

    def score(self, prompt: np.ndarray, samples: Samples) -> tuple[np.ndarray, np.ndarray]:
        """Losses and predicted labels [n]."""
        p, losses, chosen = torch.from_numpy(prompt).to(self.dtype), [], []
        with torch.no_grad():
            for piece in samples.pieces():
                logits = self.logits(p, piece)
                losses.append(self.losses(logits, torch.tensor(piece.labels)))
                chosen.append(logits.argmax(1))
        return torch.cat(losses).double().numpy(), torch.cat(chosen).numpy()

    def gradient(self, prompt: torch.Tensor, samples: Samples) -> None:
        """Leaves the gradient of the mean loss over the samples in prompt.grad."""
        for piece in samples.pieces():
            total = self.losses(self.logits(prompt, piece), torch.tensor(piece.labels)).sum() / len(samples.tokens)
            total.backward()

    def tune(self, prompt: np.ndarray, samples: Samples, optimiser: str, learning_rate: float, steps: int) -> np.ndarray:
        """The prompt after so many steps on the mean loss over all of the samples."""
        p = torch.from_numpy(prompt.copy()).to(self.dtype).requires_grad_()
        stepper = OPTIMISERS[optimiser]([p], lr=learning_rate)
        for _ in range(steps):
            stepper.zero_grad()
            self.gradient(p, samples)
            stepper.step()
        return p.detach().float().numpy()


def _added(x: torch.Tensor, prompt: torch.Tensor | None) -> torch.Tensor:
    """The prompt added to the rows behind the first, which is the token that begins a sequence."""
    assert prompt is not None
    n = 1 + len(prompt)
    return torch.cat([x[:, :1], x[:, 1:n] + prompt, x[:, n:]], dim=1)
