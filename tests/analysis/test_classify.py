"""New texts through the program: the same numbers as a data set made and scored by hand."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import fedbpt_analysis as fa
import h5py
import numpy as np
import pytest
import toy
from conftest import ROOT, Result, program
from fedbpt_analysis import cli, seal
from fedbpt_analysis.classify import Classes, as_json, as_tsv, read_texts
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

WORDS = [f"w{number}" for number in range(50)]
COLOURS = ["red", "green", "blue"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def write_model(folder: Path) -> Path:
    """The small random BERT of tests/golden with a tokenizer of whole words."""
    toy.copy_model(toy.EMBEDDING_MODEL, folder)
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *WORDS, *COLOURS])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    return folder


def write_decoder(folder: Path) -> Path:
    """The small random Llama with a tokenizer of characters and the words "red" and "gre"."""
    toy.copy_model(toy.DECODER_MODEL, folder)
    merges = [("▁", "r"), ("▁r", "e"), ("▁re", "d"), ("▁", "g"), ("▁g", "r"), ("▁gr", "e")]
    pieces = ["<unk>", "<s>", "</s>", "▁", *"abcdefghijklmnopqrstuvwxyz0123456789:", *map("".join, merges)]
    tokenizer = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, merges, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    return folder


def write_task(path: Path, **changes: object) -> Path:
    task: dict[str, object] = {
        "name": "colours", "readout": "embedding", "template": "{prompt} {text}", "prompt": {"mode": "input", "tokens": 3},
        "labels": [{"value": [colour, colour.upper()], "text": colour} for colour in COLOURS], "replace": [{"from": "W", "to": "w"}],
    }
    path.write_text(json.dumps(task | changes))
    return path


def random_texts(n: int, seed: int) -> list[str]:
    draw = np.random.default_rng(seed)
    return [" ".join(draw.choice(WORDS, draw.integers(1, 12))) for _ in range(n)]


class Study:
    """A model, a task, texts of it, a data set and a run on it."""

    def __init__(self, folder: Path, model: Path, task: Path, texts: list[str], scoring: str = "auto",
                 **prompt: object) -> None:
        self.model, self.task, self.texts = model, task, texts
        rows = [f"{text}\t{COLOURS[number % 3]}" for number, text in enumerate(self.texts)]
        (folder / "train.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
        self.data, self.run = folder / "data.h5", folder / "run.h5"
        prepare = [sys.executable, ROOT / "jobs" / "prepare_data.py", "--model", self.model, "--task", self.task]
        prepare += ["--train", folder / "train.tsv", "--output", self.data]
        subprocess.run(list(map(str, prepare)), check=True, capture_output=True)
        shape = toy.Toy.embedding(task="colours")
        values = toy.settings(self.model, self.data, self.run, shape)
        values["data"] |= {"shots": 8, "dev_shots": 4}
        values["model"]["label_scoring"] = scoring
        values["prompt"] |= prompt
        program("run", toy.write_settings(folder / "settings.yaml", values))

    def logits(self, which: str, folder: Path) -> np.ndarray:
        """Of the whole train split under the prompt of a round."""
        scores = folder / f"{which}.h5"
        program("evaluate", "--run", self.run, "--round", which, "--data", self.data, "--split", "train", "--logits", scores)
        with h5py.File(scores) as file:
            return np.asarray(file["logits"][:])


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("study")
    return Study(folder, write_model(folder / "model"), write_task(folder / "colours.yaml"), random_texts(60, 1))


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Labels of one, three and five tokens, all of which count."""
    folder = tmp_path_factory.mktemp("decoder")
    labels = [{"value": colour, "word": colour} for colour in COLOURS]
    task = write_task(folder / "colours.yaml", readout="last", template="{text} is:", labels=labels, replace=[])
    return Study(folder, write_decoder(folder / "model"), task, [text[:17].strip() for text in random_texts(60, 1)], "sum")


@pytest.fixture
def classify(call: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    def run(text: str | bytes, *words: object) -> Result:
        given = text.encode() if isinstance(text, str) else text
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        return call("classify", *words)

    return run


def test_examples_in_context(study: Study, classify: Callable[..., Result], tmp_path: Path) -> None:
    """Refused: texts would be scored without the examples that the prompt was tuned behind."""
    path = Path(shutil.copy(study.run, tmp_path / "run.h5"))
    with h5py.File(path, "r+") as file:
        file["inputs"].attrs["data_source"] = "train.tsv; up to 4 training samples in context, drawn with seed 7"
    seal.write(path)
    classify("w1\n", path, "--task", study.task).sentence("examples in context", "fedbpt evaluate")


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("which", ["best", "last", "0"])
def test_probabilities(which: str, study: Study, classify: Callable[..., Result], tmp_path: Path) -> None:
    """Of texts that are in the data set, too: those of its own logits, in their order, under the named round's prompt."""
    expected = softmax(study.logits(which, tmp_path))
    result = classify("\n".join(study.texts) + "\n", study.run, "--task", study.task, "--round", which, "--json").good()
    rows = json.loads(result.out)
    assert [row["text"] for row in rows] == study.texts and list(rows[0]["probabilities"]) == COLOURS
    found = np.array([list(row["probabilities"].values()) for row in rows])
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-12)
    assert [row["label"] for row in rows] == [COLOURS[i] for i in expected.argmax(axis=1)]
    assert np.ptp(found, axis=0).max() > 0.01, "all texts score alike: the test shows nothing"


def test_labels_of_several_tokens(decoder: Study, classify: Callable[..., Result], tmp_path: Path) -> None:
    """By all of their tokens, as the run scored them. Broken by first tokens, by which they would be told from each other, too."""
    with h5py.File(decoder.data) as file:
        assert file["labels/offsets"][:].tolist() == [0, 1, 4, 9]
    expected = softmax(decoder.logits("last", tmp_path))
    rows = json.loads(classify("\n".join(decoder.texts) + "\n", decoder.run, "--task", decoder.task, "--round", "last", "--json").good().out)
    np.testing.assert_array_equal([list(row["probabilities"].values()) for row in rows], expected)
    firsts = tmp_path / "firsts.h5"
    program("evaluate", "--run", decoder.run, "--round", "last", "--data", decoder.data, "--split", "train", "--logits", firsts, "--set",
            "model.label_scoring=first")
    with h5py.File(firsts) as file:
        assert np.abs(softmax(file["logits"][:]) - expected).max() > 0.01


def test_deep_prompts(classify: Callable[..., Result], tmp_path: Path) -> None:
    """Every layer's prompt is there. Broken by the first layer's alone, or by projections of other standard deviations."""
    deep = Study(tmp_path, write_model(tmp_path / "model"), write_task(tmp_path / "colours.yaml"), random_texts(60, 1), deep="joint")
    expected = softmax(deep.logits("last", tmp_path))
    rows = json.loads(classify("\n".join(deep.texts) + "\n", deep.run, "--task", deep.task, "--round", "last", "--json").good().out)
    np.testing.assert_array_equal([list(row["probabilities"].values()) for row in rows], expected)
    with h5py.File(deep.run) as file:
        assert file["result/last_prompt"].shape[0] == 6  # 3 vectors at 2 layers


def test_rounds_differ(study: Study, tmp_path: Path) -> None:
    """Else the test above could not tell which prompt was used."""
    assert not np.array_equal(study.logits("0", tmp_path), study.logits("last", tmp_path))


def test_tsv(study: Study, classify: Callable[..., Result]) -> None:
    """Defaults: the best round and the run's model; the task's replacements apply, the output has the text as given."""
    lines = classify("W1 w2\nw1 w2\n", study.run, "--task", study.task).good().out.splitlines()
    assert lines[0] == "label\tprobability\tred\tgreen\tblue\ttext" and len(lines) == 3
    first, second = (line.split("\t") for line in lines[1:])
    assert first[:-1] == second[:-1] and first[-1] == "W1 w2" and first[0] in COLOURS and 1 / 3 <= float(first[1]) <= 1
    fa_run = fa.open_run(study.run)
    assert fa_run.best_round is not None and fa_run.labels == COLOURS


@pytest.mark.parametrize(("text", "words"), [
    ("", ["no texts"]), ("w1\n\nw2\n", ["line 2", "empty"]), (b"w1\n\xff\n", ["not UTF-8", "byte 4"]), ("w1\n[SEP]\x00\n", []),
])
def test_texts(text: str | bytes, words: list[str], study: Study, classify: Callable[..., Result]) -> None:
    result = classify(text, study.run, "--task", study.task)
    if words:
        result.sentence(*words)
    else:
        result.good()


def test_a_text_without_tokens_is_not_left_out(study: Study, classify: Callable[..., Result], tmp_path: Path) -> None:
    """Breaks if the task's empty: skip holds here, too: each answer after the text would be that of the next one."""
    skips = write_task(tmp_path / "skips.yaml", empty="skip")
    classify("w1\n\u200b\nw2\n", study.run, "--task", skips).sentence("line 2", "empty")


def test_lines_and_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a line feed ends a text; in the output no text ends a line, and JSON is whole in ASCII, too."""
    given = "a\x0cb\u2028c\r\nd \x1b[1m体\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
    samples = read_texts(cli._read_stdin(), two=False)
    assert samples == [("a\x0cb\u2028c",), ("d \x1b[1m体",)]
    classes = Classes(["x", "体"], np.array([[0.25, 0.75], [1, 0]]), np.array([1, 0]))
    for ascii_only in (False, True):
        text = as_json(classes, samples, ascii_only)
        assert [row["text"] for row in json.loads(text)] == [sample[0] for sample in samples]
        assert text.isascii() == ascii_only and not set("\x1b\x0c\u2028") & set(text)
    assert len(as_tsv(classes, samples).splitlines()) == 3 and "\x1b" not in as_tsv(classes, samples)


def test_errors(study: Study, classify: Callable[..., Result], tmp_path: Path) -> None:
    classify("w1", study.run).sentence("colours", "--task")
    classify("w1", tmp_path / "no.h5", "--task", study.task).sentence("there is no such file")
    classify("w1", study.run, "--task", study.task, "--model", tmp_path / "nowhere").sentence("nowhere")
    classify("w1", study.run, "--task", study.task, "--round", "77").sentence("77")
    other = write_task(tmp_path / "other.yaml", template="{prompt} say {text}")
    classify("w1", study.run, "--task", other).sentence("was tuned with the template '{text}' and 3 labels", "'say {text}'", "--task")
    fewer = write_task(tmp_path / "fewer.yaml", labels=[{"value": 0, "text": "red"}, {"value": 1, "text": "blue"}])
    classify("w1", study.run, "--task", fewer).sentence("3 labels", "and 2")
    words = write_task(tmp_path / "words.yaml", labels=[{"value": text, "text": text} for text in ("red", "green", "w1 w2")])
    classify("w1", study.run, "--task", words).sentence("with the labels red, green, blue", "red, green, w1 w2", "--task")
    for content in ("[1]", "a: [", "labels: 3"):
        (tmp_path / "bad.yaml").write_text(content)
        classify("w1", study.run, "--task", tmp_path / "bad.yaml").sentence("bad.yaml")


def test_another_tokenizer(study: Study, classify: Callable[..., Result], tmp_path: Path) -> None:
    """A prompt means nothing to another model; the run knows the tokenizer's hash."""
    model = tmp_path / "model"
    shutil.copytree(study.model, model)
    text = json.loads((model / "tokenizer.json").read_text())
    (model / "tokenizer.json").write_text(json.dumps(text, indent=3))
    classify("w1", study.run, "--task", study.task, "--model", model).sentence("another tokenizer", "--model")


def test_two_texts(study: Study, classify: Callable[..., Result], tmp_path: Path) -> None:
    task = write_task(tmp_path / "pair.yaml", template="{prompt} {text} {text2}")
    classify("w1", study.run, "--task", task).sentence("line 1", "two texts", "tab")
    classify("w1\tw2", study.run, "--task", task).sentence("was tuned with the template")
