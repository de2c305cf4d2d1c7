"""Whatever a user stages in: the texts come back as they were, or one sentence says why not; never a traceback.

`FBT_EXAMPLES=2000 pytest tests/jobs/test_properties.py` looks further, with new examples each time.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import prepare_data
import pyarrow as arrow
import pytest
import yaml
from conftest import SPECIAL, bert_tokenizer, roberta_tokenizer, save_model
from hypothesis import HealthCheck, Phase, assume, example, given, settings
from hypothesis import strategies as st
from pyarrow import feather, parquet
from staging import errors
from staging.errors import UserError
from staging.task import Task, load_task
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

N_EXAMPLES = int(os.environ.get("FBT_EXAMPLES", "0"))
settings.register_profile(
    "fbt",
    max_examples=N_EXAMPLES or 15,
    derandomize=N_EXAMPLES == 0,  # the same examples in every run of the tests,
    phases=list(Phase) if N_EXAMPLES else [Phase.explicit, Phase.generate],  # which does not look for smaller ones, as that takes long
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("fbt")

# ---- The programs ----


@dataclass
class Outcome:
    """How prepare_data ended, and the samples' own tokens where it wrote a file."""

    code: int
    err: list[str]
    rows: list[list[int]]
    texts: list[list[int]]


@dataclass
class Bench:
    """A folder to stage in, with models and a task."""

    folder: Path
    models: dict[str, Path]
    tokenizers: dict[str, Tokenizer]

    def stage(self, model: str, data: Path, *more: object) -> Outcome:
        """Calls prepare_data as the shell would. Anything but an ordinary end is the caller's to see."""
        output = self.folder / "out.h5"
        output.unlink(missing_ok=True)
        arguments = ["--model", self.models[model], "--task", self.folder / "task.yaml", "--train", data, "--output", output, *more]
        code, out, err, argv = 0, io.StringIO(), io.StringIO(), sys.argv
        sys.argv = ["prepare_data.py", *map(str, arguments)]
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                errors.run(prepare_data.main)
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else 1
        finally:
            sys.argv = argv
        lines = [line for line in err.getvalue().splitlines() if not line.startswith("warning: ")]
        if code:
            assert code == 2 and len(lines) == 1 and lines[0].startswith("error: "), err.getvalue()
            assert len(lines[0]) > len("error: ") and not output.exists()
            return Outcome(code, lines, [], [])
        assert not lines
        return Outcome(code, lines, *samples(output))


def samples(path: Path) -> tuple[list[list[int]], list[list[int]]]:
    """Of each sample all tokens, and those that are the text's."""
    with h5py.File(path) as file:
        tokens, frozen, ends = (file["train"][name][:] for name in ("tokens", "frozen", "offsets"))
    spans = [slice(start, end) for start, end in zip(ends[:-1], ends[1:], strict=True)]
    return [tokens[span].tolist() for span in spans], [tokens[span][frozen[span] == 0].tolist() for span in spans]


def unigram_tokenizer() -> Tokenizer:
    """As XLM-R's: the names of the special tokens are pieces of the vocabulary."""
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), ("▁It", -3.0), ("▁was", -3.0)]
    pieces += [(letter, -4.0) for letter in "abcdefghijklmnopqrstuvwxyz<>/[]. ISWT"]
    pieces += [("▁bad", -5.0), ("▁great", -5.0), ("<mask>", 0.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    return tokenizer


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A byte-level, a WordPiece and a Unigram model, with room for every text of these tests."""
    folder = tmp_path_factory.mktemp("properties")
    names = {"cls_token": "<s>", "sep_token": "</s>", "mask_token": "<mask>", "pad_token": "<pad>", "unk_token": "<unk>"}
    bert_names = dict(zip(names, ("[CLS]", "[SEP]", "[MASK]", "[PAD]", "[UNK]"), strict=True))
    made = {"bytes": roberta_tokenizer(), "words": bert_tokenizer(SPECIAL), "pieces": unigram_tokenizer()}
    config = {"vocab_size": 1100, "max_position_embeddings": 5000, "pad_token_id": 1, "hidden_act": "gelu"}
    config |= {"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8, "type_vocab_size": 1}
    folders = {
        name: save_model(
            folder / name,
            tokenizer,
            config | ({"model_type": "bert", "pad_token_id": 0, "type_vocab_size": 2} if name == "words" else {"model_type": "roberta"}),
            bert_names if name == "words" else names,
        )
        for name, tokenizer in made.items()
    }
    labels = [{"value": 0, "word": "bad"}, {"value": 1, "word": "great"}]
    task = {"name": "toy", "readout": "mask", "template": "{text} It was {mask} .", "labels": labels, "prompt": {"mode": "input"}}
    task |= {"label_space": True, "label_tokens": "first", "prompt": {"mode": "input", "tokens": 3}}
    (folder / "task.yaml").write_text(json.dumps(task), encoding="utf-8")
    return Bench(folder, folders, {name: Tokenizer.from_file(str(path / "tokenizer.json")) for name, path in folders.items()})


def decoded(bench: Bench, outcome: Outcome) -> list[str]:
    """The texts of a file made with the byte-level model."""
    decode = bench.tokenizers["bytes"].decode
    return [decode(tokens, skip_special_tokens=False) for tokens in outcome.texts]


def comes_back(bench: Bench, data: Path, texts: list[str], must: bool) -> None:
    outcome = bench.stage("bytes", data)
    assert outcome.code == 0 or not must, outcome.err
    if outcome.code == 0:
        assert decoded(bench, outcome) == texts


# ---- Texts ----


def is_text(text: str) -> bool:
    """Not what the programs call empty."""
    return bool(text.strip())


CHARACTERS = st.characters(exclude_categories=["Cs"])
NAMES = ["<s>", "</s>", "<mask>", "<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", "[PAD]", "[UNK]"]
SPELLINGS = st.sampled_from([*NAMES, '"', '""', "\\n", "{text}"])
TEXTS = st.lists(st.text(CHARACTERS, max_size=8) | SPELLINGS, min_size=1, max_size=6).map("".join).filter(is_text)
ANY_TEXTS = st.lists(TEXTS, min_size=1, max_size=8)


def without(characters: str) -> st.SearchStrategy[list[str]]:
    """Lists of texts in which these characters have become letters."""
    table = str.maketrans(dict.fromkeys(characters, "x"))
    return ANY_TEXTS.map(lambda texts: [text.translate(table) for text in texts])


@given(texts=without("\t\r\n"))
@example(texts=["\x00a", "a\x0bb\x0c", "\x1c\x85\u2028x", "\ufeffa", "a "])
@example(texts=['He said "fine" twice', '"'])
def test_texts_of_a_tsv_file_come_back(bench: Bench, texts: list[str]) -> None:
    """A tab or a line feed ends a field, nothing else does. Quotes may be refused, as they may mean another dialect."""
    data = bench.folder / "data.tsv"
    data.write_bytes(("text\tlabel\n" + "".join(f"{text}\t{row % 2}\n" for row, text in enumerate(texts))).encode())
    comes_back(bench, data, texts, must=not any('"' in text for text in texts))


@given(texts=ANY_TEXTS, quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), end=st.sampled_from(["\n", "\r\n"]))
@example(texts=["a\nb\r\nc", 'x"y', ",", "\rz"], quoting=csv.QUOTE_MINIMAL, end="\n")
def test_texts_of_a_csv_file_come_back(bench: Bench, texts: list[str], quoting: int, end: str) -> None:
    """Commas, quotes and line ends inside a field are the text's. Lone carriage returns may be refused."""
    data = bench.folder / "data.csv"
    with data.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=quoting, lineterminator=end)  # type: ignore[arg-type]
        writer.writerows([("text", "label"), *((text, row % 2) for row, text in enumerate(texts))])
    comes_back(bench, data, texts, must=not any("\r" in text for text in texts))


@given(texts=ANY_TEXTS, ascii_only=st.booleans(), kind=st.sampled_from([".jsonl", ".json"]))
def test_texts_of_json_lines_come_back(bench: Bench, texts: list[str], ascii_only: bool, kind: str) -> None:
    """Escaped or not, whatever line separators of Unicode are in them."""
    data = bench.folder / f"data{kind}"
    rows = (json.dumps({"label": row % 2, "text": text}, ensure_ascii=ascii_only) for row, text in enumerate(texts))
    data.write_bytes("".join(f"{row}\n" for row in rows).encode())
    comes_back(bench, data, texts, must=True)


@given(texts=ANY_TEXTS, place=st.integers(0, 7), half=st.integers(0xD800, 0xDFFF))
def test_half_a_character_is_refused(bench: Bench, texts: list[str], place: int, half: int) -> None:
    """JSON can hold a lone surrogate, which no text is."""
    texts = [*texts]
    texts[place % len(texts)] += chr(half) + "x"
    data = bench.folder / "data.jsonl"
    data.write_text("".join(json.dumps({"text": text, "label": 0}) + "\n" for text in texts), encoding="utf-8")
    assert bench.stage("bytes", data).code == 2


@given(texts=ANY_TEXTS, kind=st.sampled_from([".parquet", ".arrow"]), large=st.booleans())
def test_texts_of_arrow_tables_come_back(bench: Bench, texts: list[str], kind: str, large: bool) -> None:
    """As plain and as large strings."""
    columns = {"label": [row % 2 for row in range(len(texts))]}
    table = arrow.table({**columns, "text": arrow.array(texts, arrow.large_string() if large else arrow.string())})
    data = bench.folder / f"data{kind}"
    if kind == ".parquet":
        parquet.write_table(table, data)
    else:
        with arrow.OSFile(str(data), "wb") as file, arrow.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)
    comes_back(bench, data, texts, must=True)


@pytest.mark.parametrize("model", ["bytes", "words", "pieces"])
@given(texts=without("\t\r\n"))
@example(texts=["<s> a </s> b <mask> c <pad> d [MASK] [CLS] [SEP] [PAD] e"])
def test_no_text_forges_a_special_token(bench: Bench, model: str, texts: list[str]) -> None:
    """The text's own tokens are none of those that begin, end, pad and are read, and each sample has one of each at its place."""
    data = bench.folder / "data.jsonl"
    data.write_text("".join(json.dumps({"text": text, "label": 0}) + "\n" for text in texts), encoding="utf-8")
    outcome = bench.stage(model, data)
    names = ("[CLS]", "[SEP]", "[MASK]", "[PAD]") if model == "words" else ("<s>", "</s>", "<mask>", "<pad>")
    first, last, mask, pad = (bench.tokenizers[model].token_to_id(name) for name in names)
    for row, own in zip(outcome.rows, outcome.texts, strict=True):
        assert not {first, last, mask, pad} & set(own)
        assert (row[0], row[-1], row.count(first), row.count(last), row.count(mask), row.count(pad)) == (first, last, 1, 1, 1, 0)


# ---- Files that are not what they seem ----

TOKENS = [b"text", b"label", b",", b"\t", b"\n", b"\r", b'"', b"{", b"}", b"[", b"]", b":", b'"text"', b'"label"', b"0", b"\\u", b"d83d"]
BYTES = st.binary(max_size=60) | st.lists(st.sampled_from(TOKENS) | st.binary(max_size=3), max_size=25).map(b"".join)


@pytest.mark.parametrize("kind", [".tsv", ".csv", ".jsonl", ".json", ".parquet", ".arrow"])
@given(content=BYTES, heading=st.booleans())
@example(content=b"[" * 100000, heading=False)
@example(content=b'{"text":' * 100000, heading=False)
@example(content=b'{"text": "a", "label": 1' + b"0" * 5000 + b"}", heading=False)
@example(content=b'{"text": "a", "text": "b", "label": NaN}', heading=False)
@example(content="text\tlabel\nä\t0\n".encode("utf-16"), heading=False)
def test_any_bytes_end_in_a_file_or_a_sentence(bench: Bench, kind: str, content: bytes, heading: bool) -> None:
    """Breaks on the first exception of a library that nobody has turned into a sentence."""
    data = bench.folder / f"data{kind}"
    head = {".tsv": b"text\tlabel\n", ".csv": b"text,label\n", ".parquet": b"PAR1", ".arrow": b"\xff\xff\xff\xff"}.get(kind, b"")
    data.write_bytes((head if heading else b"") + content)
    bench.stage("bytes", data)


CELLS = st.sampled_from([None, True, 1, -1.5, float("nan"), "a", "", b"\xff", [1], [], {"a": 1}, ["x"], 10**18])


TABLES = st.sampled_from([".parquet", ".arrow", ".feather", ".jsonl", ".json"])


@given(text=CELLS, label=CELLS, n=st.integers(0, 3), kind=TABLES, twice=st.booleans())
def test_cells_of_any_type_end_in_a_file_or_a_sentence(bench: Bench, text: Any, label: Any, n: int, kind: str, twice: bool) -> None:
    """Columns of numbers, lists, structures and nothing; two of one name."""
    data = bench.folder / f"data{kind}"
    rows = [{"text": text, "label": label}] * n
    if kind.startswith(".json"):
        assume(not isinstance(text, bytes) and not isinstance(label, bytes))
        data.write_text(json.dumps(rows) if twice else "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        names = ["text", "label"] + (["text"] if twice else [])
        table = arrow.Table.from_arrays([arrow.array([label if name == "label" else text] * n) for name in names], names=names)
        write: dict[str, Callable[[Any, Path], Any]] = {".parquet": parquet.write_table, ".feather": feather.write_feather}
        write.get(kind, feather.write_feather)(table, data)
    bench.stage("bytes", data)


# ---- Tasks ----

NUMBERS = st.booleans() | st.integers(-(2**70), 2**70) | st.floats()
SCALARS = st.none() | NUMBERS | st.text(CHARACTERS, max_size=12) | st.dates() | st.binary(max_size=4)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(CHARACTERS, max_size=5) | st.integers(), inner, max_size=3)
)
KEYS = ["name", "readout", "template", "template_without_prompt", "labels", "label_space", "label_tokens", "skip_labels", "columns"]
KEYS += ["replace", "strip", "metric", "loss", "prompt", "splits", "empty", "unknown"]
SOUND = {"name": "toy", "readout": "mask", "template": "{text} {mask}", "labels": [{"value": 0, "word": "a"}, {"value": 1, "word": "b"}]}


def loads_or_says_why(path: Path) -> None:
    """load_task gives a task that keeps its promises, or a UserError of one line."""
    try:
        task = load_task(str(path))
    except UserError as error:
        assert str(error).startswith(str(path))
        return
    assert isinstance(task, Task) and len(task.labels) >= 2 and task.prompt_tokens >= 1
    assert all(label.word.strip() and label.values for label in task.labels)
    values = [value for label in task.labels for value in label.values]
    assert len(set(values)) == len(values) == len(task.label_index())
    assert "{text}" in task.template_without_prompt and "{prompt}" not in task.template_without_prompt


@given(changes=st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3))
def test_a_task_of_any_values_loads_or_is_refused(tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any]) -> None:
    """Every key with values of every type that YAML has."""
    path = tmp_path_factory.getbasetemp() / "any-task.yaml"
    path.write_text(yaml.safe_dump({**SOUND, **changes}, allow_unicode=True), encoding="utf-8")
    loads_or_says_why(path)


WORDS = ["name: toy\n", "readout: mask\n", "readout: embedding\n", 'template: "{text} {mask}"\n', "labels:\n", "  - {value: 0, word: a}\n"]
WORDS += ["  - {value: 1, word: b}\n", "  - {value: [2, x], word: c}\n", "prompt: {mode: add}\n", "&a ", "*a", "<<: *a\n", "!!int "]
WORDS += ["!!binary ", "[", "]", "{", "}", "2001-99-99", "- ", "? ", ": ", "~", "'", '"', "|\n", "---\n"]
WORDS += ["skip_labels: [null, true]\n", "\t", "\x00", "é", "1_0:99", "!!set {a}"]


@given(words=st.lists(st.sampled_from(WORDS) | st.text(CHARACTERS, max_size=4), max_size=14))
@example(words=["name: 2001-99-99\n"])
@example(words=["name: !!int x\n"])
@example(words=["? [a]\n: b\n"])
@example(words=["? {a: b}\n: c\n"])
@example(words=["labels: &a [*a, *a]\n", "name: x\n"])
@example(words=["a: " + "[" * 2000])
@example(words=["a: " + "{a: " * 2000])
@example(words=["prompt: {mode: [a], tokens: 1}\n", *WORDS[:6]])
@example(words=["name: !!python/object:os.system {}\n"])
@example(words=[*WORDS[:2], WORDS[3], "labels:\n", "  - {value: 1.0, word: a}\n", "  - {value: 1, word: b}\n"])
def test_any_yaml_is_a_task_or_is_refused(tmp_path_factory: pytest.TempPathFactory, words: list[str]) -> None:
    """Text that is nearly a task, or nearly YAML."""
    path = tmp_path_factory.getbasetemp() / "any-text.yaml"
    path.write_text("".join(words), encoding="utf-8")
    loads_or_says_why(path)


BOMB = "[&x0 [x], " + ", ".join(f"&x{n} [{', '.join([f'*x{n - 1}'] * 9)}]" for n in range(1, 10)) + "]"  # a billion x


@pytest.mark.parametrize("key", ["name", "skip_labels", "replace", "columns", "prompt: {mode: ", "splits: {dev: ", "labels: [{value: "])
def test_aliases_that_multiply_end_at_once(tmp_path: Path, key: str) -> None:
    """Breaks if something goes through, copies or prints all that a few aliases stand for, which takes longer than anyone waits."""
    path = tmp_path / "bomb.yaml"
    sound = "".join(f"{name}: {json.dumps(value)}\n" for name, value in SOUND.items() if name != key.split(":")[0])
    opening = key if ":" in key else f"{key}: "
    path.write_text(sound + opening + BOMB + key.count("{") * "}" + ", {value: 1, word: b}]" * key.count("[") + "\n", encoding="utf-8")
    program = "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31)); sys.path.insert(0, sys.argv[1])\n"
    program += "from staging import errors, task; errors.run(lambda: task.load_task(sys.argv[2]))"
    jobs = Path(prepare_data.__file__).parent
    ended = subprocess.run([sys.executable, "-c", program, str(jobs), str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2 and ended.stderr.startswith("error: ") and len(ended.stderr) < 10000, ended.stderr[-500:]


@given(content=st.binary(max_size=80))
def test_any_bytes_are_no_task(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Nor do they end in a traceback."""
    path = tmp_path_factory.getbasetemp() / "any-bytes.yaml"
    path.write_bytes(content)
    loads_or_says_why(path)
