#!/usr/bin/env python3
"""Stages a data set in: tokenises a task's text for a model and writes one HDF5 file that `fedbpt run` reads.

Only the text is ever shortened to fit the model, never template, mask or prompt; how many samples were is reported and stored.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from staging import errors
from staging.encode import TaskTokenizer, encode_label_texts, encode_samples, label_ids, make_layout, template_in_use, to_samples
from staging.errors import UserError
from staging.model import ModelInfo, load_info
from staging.sources import CORPORA, Record, Split, combined_sha256, find_dataset_splits, from_files, load_corpus, split_randomly
from staging.task import MODES, Task, load_task
from staging.writer import FORMAT_VERSION, Table, collect, write

CORPUS_TEST_SIZE = 1000

EXAMPLES = """examples:
  a packaged corpus, no hub needed:
    python jobs/prepare_data.py --model models/all-MiniLM-L6-v2 --task bbc-headlines --corpus bbc-news-headlines \\
      --test-size 1000 --output datasets/bbc-headlines.h5
  files of your own, with named columns (TSV, CSV, JSON lines, Parquet):
    python jobs/prepare_data.py --model models/roberta-large --task my-task.yaml --train train.csv --test test.csv \\
      --column-text review --column-label stars --output datasets/mine.h5
  one file, split here by a seeded draw:
    python jobs/prepare_data.py --model models/roberta-large --task my-task.yaml --train all.jsonl --test-size 2000 \\
      --output datasets/mine.h5
  a Hugging Face data set folder (files per split, or made by save_to_disk):
    python jobs/prepare_data.py --model models/roberta-large --task sst2 --dataset ~/downloads/sst2 --output datasets/sst2-roberta-large.h5

A task is a YAML file: template, label words, columns. configs/tasks/sst2.yaml explains every key; copy it to write your own.
TSV is read without quoting (a tab or a line end always ends a field), CSV with double quotes as usual."""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="model folder (its tokenizer.json and config.json are read)")
    parser.add_argument("--task", required=True, help="task file, or the bare name of one in configs/tasks")
    parser.add_argument("--output", type=Path, required=True, help="data set file to write; an existing one is replaced")
    source = parser.add_argument_group("source (one of --train, --corpus, --dataset)")
    source.add_argument("--train", type=Path, help="training samples")
    source.add_argument("--dev", type=Path, help="development samples; without them the runner takes its own from train")
    source.add_argument("--test", type=Path, help="test samples")
    corpora = "; ".join(f"{name}: {corpus.about}" for name, corpus in CORPORA.items())
    source.add_argument("--corpus", choices=sorted(CORPORA), help=f"a packaged corpus ({corpora})")
    source.add_argument("--dataset", type=Path, help="Hugging Face data set folder")
    source.add_argument("--test-size", type=int, help="draw this many test samples out of --train or --corpus (--corpus: 1000 by default)")
    source.add_argument("--seed", type=int, default=42, help="seed of that draw (default: %(default)s)")
    layout = parser.add_argument_group("layout")
    layout.add_argument("--prompt-mode", choices=MODES, help="default: the task's")
    layout.add_argument("--prompt-tokens", type=int, help="length P of the prompt; default: the task's")
    layout.add_argument("--max-tokens", type=int,
                        help="longest stored sample; default: what the model's positions or a sentence encoder's max_seq_length allow")
    columns = parser.add_argument_group("columns (default: the task's)")
    for name in ("text", "text2", "label"):
        columns.add_argument(f"--column-{name}", metavar="NAME", help=f"column that holds the {name}")
    columns.add_argument("--names", help="column names, separated by commas, of CSV or TSV files that have no header line")
    arguments = parser.parse_args()
    if sum(bool(given) for given in (arguments.train, arguments.corpus, arguments.dataset)) != 1:
        parser.error("give one of --train, --corpus and --dataset")
    if not arguments.train and (arguments.dev or arguments.test):
        parser.error("--dev and --test go with --train")
    if arguments.test_size is not None and (arguments.dataset or arguments.test):
        parser.error("--test-size draws from --train or --corpus, where there is no test split yet")
    return arguments


@dataclass(frozen=True)
class Source:
    """All splits before tokenisation, and what is recorded about where they came from."""

    splits: dict[str, Split]
    name: str
    sha256: str


def columns_of(task: Task, arguments: argparse.Namespace) -> dict[str, str]:
    """Our name -> column name; a packaged corpus always has columns text and label."""
    if arguments.corpus:
        if "text2" in task.fields():
            raise UserError(f"{task.path}: the task takes two texts, but the corpus {arguments.corpus} has one")
        return {"text": "text", "label": "label"}
    given = {name: getattr(arguments, f"column_{name}") for name in ("text", "text2", "label")}
    return {name: given[name] or column for name, column in task.columns.items()}


def open_source(task: Task, arguments: argparse.Namespace, columns: dict[str, str]) -> Source:
    """Finds the splits of whatever kind of source was named."""
    wanted = list(columns.values())
    names = arguments.names.split(",") if arguments.names else None
    if arguments.corpus:
        return open_corpus(arguments)
    if arguments.dataset:
        found = find_dataset_splits(arguments.dataset, task.splits)
        splits = {split: from_files(paths, wanted) for split, paths in found.items()}
        label = arguments.dataset.resolve().name
    else:
        paths = {"train": arguments.train, "dev": arguments.dev, "test": arguments.test}
        splits = {split: from_files([path], wanted, names) for split, path in paths.items() if path}
        label = ", ".join(f"{split}: {part.name}" for split, part in splits.items())
    digest = combined_sha256([part.sha256 for part in splits.values()])
    if arguments.test_size is not None:
        records = list(splits["train"].records)
        splits |= draw_test(records, arguments.test_size, arguments.seed, [columns[field] for field in task.fields()])
    return Source(splits, label, digest)


def open_corpus(arguments: argparse.Namespace) -> Source:
    """A packaged corpus with its drawn test split."""
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    records, digest = load_corpus(arguments.corpus, arguments.output.parent)
    test_size = CORPUS_TEST_SIZE if arguments.test_size is None else arguments.test_size
    archive = CORPORA[arguments.corpus].archive
    name = f"{arguments.corpus} ({archive.package} {archive.version}), test split drawn with seed {arguments.seed}"
    return Source(draw_test(records, test_size, arguments.seed, ["text"]), name, digest)


def draw_test(records: list[Record], test_size: int, seed: int, columns: list[str]) -> dict[str, Split]:
    """Train and test split of one list of samples."""

    def key(record: Record) -> str:
        return "\n".join(str(record.values[column]) for column in columns)

    train, test = split_randomly(records, test_size, seed, key)
    return {name: Split(part, "", name, len(part)) for name, part in (("train", train), ("test", test))}


class Skipped:
    """Counts the rows that the task leaves out."""

    def __init__(self) -> None:
        self.count = 0

    def drop(self, samples: Iterable[Any]) -> Iterator[Any]:
        """Passes on what is not None."""
        for sample in samples:
            if sample is None:
                self.count += 1
            else:
                yield sample


def encode_splits(source: Source, task: Task, columns: dict[str, str], pipeline: tuple[Any, TaskTokenizer]) -> dict[str, Table]:
    """Tokenises every split, with a progress bar where someone is watching."""
    layout, tokenizer = pipeline
    tables = {}
    for name, split in source.splits.items():
        skipped = Skipped()
        records = tqdm(split.records, desc=name, total=split.n_rows, unit=" samples", leave=False, disable=not sys.stderr.isatty())
        samples = skipped.drop(to_samples(records, task, columns))
        tables[name] = collect(encode_samples(samples, layout, tokenizer))
        if not tables[name]:
            raise UserError(f"{source.name}: the {name} split has no samples ({skipped.count} rows left out by their labels)")
        print(summary(name, tables[name], len(task.labels), skipped.count))
    return tables


def summary(name: str, table: Table, n_labels: int, n_skipped: int) -> str:
    """One line about a split."""
    counts = [0] * n_labels
    for label in table.labels:
        counts[label] += 1
    mean = len(table.tokens) / len(table)
    by_label = "/".join(map(str, counts))
    text = f"{name}: {len(table)} samples, {mean:.1f} tokens on average, {table.n_truncated} shortened; by label {by_label}"
    return f"{text}; {n_skipped} rows left out" if n_skipped else text


def attributes_of(task: Task, model: ModelInfo, tokenizer: TaskTokenizer, source: Source, mode: str, n_prompt: int) -> dict[str, Any]:
    """The root attributes of the file."""
    return {
        "format_version": FORMAT_VERSION,
        "task": task.name,
        "template": template_in_use(task, mode),
        "readout": task.readout,
        "prompt_mode": mode,
        "prompt_tokens": n_prompt,
        "metric": task.metric,
        "loss": task.loss,
        "vocab_size": model.vocab_size,
        "tokenizer_sha256": model.tokenizer_sha256,
        "source": source.name,
        "source_sha256": source.sha256,
        "label_words": [label.word for label in task.labels],
        "label_token_ids": label_ids(task, tokenizer),
        **{f"{role}_id": number for role, number in tokenizer.ids.items()},
    }


def main() -> None:
    arguments = parse_arguments()
    task = load_task(arguments.task)
    model = load_info(arguments.model, task.readout)
    mode = arguments.prompt_mode or task.prompt_mode
    n_prompt = task.prompt_tokens if arguments.prompt_tokens is None else arguments.prompt_tokens
    if n_prompt < 1:
        raise UserError(f"--prompt-tokens {n_prompt}: must be at least 1")
    tokenizer = TaskTokenizer(model)
    layout = make_layout(task, tokenizer, model, mode, n_prompt, arguments.max_tokens)
    label_ids(task, tokenizer)
    label_texts = encode_label_texts(task, tokenizer, model) if task.readout == "embedding" else []
    columns = columns_of(task, arguments)
    source = open_source(task, arguments, columns)
    tables = encode_splits(source, task, columns, (layout, tokenizer))
    write(arguments.output, attributes_of(task, model, tokenizer, source, mode, n_prompt), tables, label_texts)
    print(f"{arguments.output}: task {task.name}, prompt mode {mode}, {n_prompt} prompt tokens")


if __name__ == "__main__":
    errors.run(main)
