#!/usr/bin/env python3
"""Stages a data set in: tokenises a task's text for a model and writes one HDF5 file that `fedbpt run` reads.

Only the text is ever shortened to fit the model, never template, mask or prompt; how many samples were is reported and stored.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from staging import errors
from staging.clients import Clients
from staging.corpora import CORPORA, load_corpus
from staging.delimited import QUOTINGS, Dialect, parse_delimiter, parse_names
from staging.draw import draw_test
from staging.encode import encode_samples
from staging.errors import UserError
from staging.in_context import Examples, choose, make_examples, put_in_front
from staging.in_context import check as check_in_context
from staging.label_words import LabelTokens, encode_labels, leave_room
from staging.layout import Layout, make_layout
from staging.model import ModelInfo, load_info
from staging.records import Split, combined_sha256, some
from staging.samples import LeftOut, to_samples
from staging.sources import expand, from_files
from staging.splits import find_splits, unused
from staging.task import EMPTY, MODES, Task, load_task
from staging.tokenizer import TaskTokenizer
from staging.vocabulary import MOST, Vocabulary, make_vocabulary
from staging.writer import FORMAT_VERSION, Table, collect, write
from tqdm import tqdm

CORPUS_TEST_SIZE, SEED = 1000, 42

EXAMPLES = """examples:
  a packaged corpus, no hub needed:
    python jobs/prepare_data.py --model models/all-MiniLM-L6-v2 --task bbc-headlines --corpus bbc-news-headlines \\
      --test-size 1000 --output datasets/bbc-headlines.h5
  files of your own, with named columns (TSV, CSV, JSON lines, Parquet):
    python jobs/prepare_data.py --model models/roberta-large --task my-task.yaml --train train.csv --test test.csv \\
      --column-text review --column-label stars --output datasets/mine.h5
  many files, split here by a seeded draw (the pattern in quotes, or not):
    python jobs/prepare_data.py --model models/roberta-large --task my-task.yaml --train 'parts/*.jsonl.gz' --test-size 2000 \\
      --output datasets/mine.h5
  a Hugging Face data set folder (files per split, or made by save_to_disk):
    python jobs/prepare_data.py --model models/roberta-large --task sst2 --dataset ~/downloads/sst2 --output datasets/sst2-roberta-large.h5

A task is a YAML file: template, label words, columns. configs/tasks/sst2.yaml explains every key; copy it to write your own.
The model's tokenizer is followed as transformers' AutoTokenizer makes it; what in its files contradicts tokenizer.json is printed.
JSON may be one object a line, or an array of objects; text files may be compressed (.gz, .bz2, .xz, .zst); Arrow files may be streams or
Feather files. TSV is read without quoting (a tab or a line end always ends a field), with a warning where fields look quoted; CSV with
double quotes as usual. In a data set folder `validation_matched` or `train_r1` is a split of its own: name it in the task's splits."""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="model folder (config.json and its tokenizer's files are read)")
    parser.add_argument("--task", required=True, help="task file, or the bare name of one in configs/tasks")
    parser.add_argument("--output", type=Path, required=True, help="data set file to write; an existing one is replaced")
    source = parser.add_argument_group("source (one of --train, --corpus, --dataset)")
    files: dict[str, Any] = {"nargs": "+", "action": "extend", "metavar": "FILE"}
    source.add_argument("--train", **files, help="training samples: files, or patterns like 'parts/*.parquet', read one after another")
    source.add_argument("--dev", **files, help="development samples; without them the runner takes its own from train")
    source.add_argument("--test", **files, help="test samples")
    corpora = "; ".join(f"{name}: {corpus.about}" for name, corpus in CORPORA.items())
    source.add_argument("--corpus", choices=sorted(CORPORA), help=f"a packaged corpus ({corpora})")
    source.add_argument("--dataset", type=Path, help="Hugging Face data set folder")
    source.add_argument("--test-size", type=int, help="draw this many test samples out of --train or --corpus (--corpus: 1000 by default)")
    source.add_argument("--seed", type=int, help=f"seed of that draw, and of --in-context (default: {SEED})")
    rows = parser.add_argument_group("rows")
    rows.add_argument("--client", metavar="COLUMN", help="whose a training sample is (an author, a site), for fed.partition natural")
    few = "leave out the training samples of clients that have less than so many; needs --client"
    rows.add_argument("--client-min-samples", type=int, metavar="N", help=few)
    context = "put training samples with their label words in front of every sample, N at most and as many as fit, one of each label in "
    context += "turn (in-context learning); they are drawn by --seed, and leave the training split"
    rows.add_argument("--in-context", type=int, metavar="N", help=context)
    words = "keep N words of the training texts, chosen by pointwise mutual information, for prompts of words (prompt mode input)"
    rows.add_argument("--vocabulary", type=int, metavar="N", help=words)
    rows.add_argument("--empty", choices=EMPTY, help="rows without text: stop, or leave them out and count them; default: the task's")
    quoting = "CSV and TSV: double quotes belong to the text (none; TSV's default), or enclose fields, and those inside are doubled "
    quoting += "(csv; CSV's default) or have a backslash before them (backslash)"
    rows.add_argument("--quoting", choices=QUOTINGS, help=quoting)
    rows.add_argument("--delimiter", help="CSV and TSV: what separates fields, one character or the word tab; default: by the file's name")
    layout = parser.add_argument_group("layout")
    layout.add_argument("--prompt-mode", choices=MODES, help="default: the task's")
    layout.add_argument("--prompt-tokens", type=int, help="length P of the prompt; default: the task's")
    longest = "longest stored sample; default: what the positions, model_max_length and a sentence encoder's max_seq_length allow"
    layout.add_argument("--max-tokens", type=int, help=longest)
    columns = parser.add_argument_group("columns (default: the task's)")
    for name in ("text", "text2", "label"):
        columns.add_argument(f"--column-{name}", metavar="NAME", help=f"column that holds the {name}")
    columns.add_argument("--names", help="column names, separated by commas, of CSV or TSV files that have no header line")
    arguments = parser.parse_args()
    if sum(bool(given) for given in (arguments.train, arguments.corpus, arguments.dataset)) != 1:
        parser.error("give one of --train, --corpus and --dataset")
    check_together(parser, arguments)
    return arguments


def check_together(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Refuses options that would have no effect beside the others."""
    if not arguments.train and (arguments.dev or arguments.test):
        parser.error("--dev and --test go with --train")
    if arguments.test_size is not None and (arguments.dataset or arguments.test):
        parser.error("--test-size draws from --train or --corpus, where there is no test split yet")
    if arguments.in_context is not None and arguments.in_context < 1:
        parser.error("--in-context is 1 or more")
    if arguments.vocabulary is not None and not 2 <= arguments.vocabulary <= MOST:
        parser.error(f"--vocabulary is 2 to {MOST}")
    if arguments.seed is not None and arguments.test_size is None and not arguments.corpus and arguments.in_context is None:
        parser.error("--seed goes with --test-size, --corpus or --in-context")
    if arguments.client_min_samples is not None and (not arguments.client or arguments.client_min_samples < 1):
        parser.error("--client-min-samples is 1 or more, and goes with --client")
    given = ("names", "quoting", "delimiter", "column_text", "column_text2", "column_label", "client")
    wrong = [f"--{name.replace('_', '-')}" for name in given if getattr(arguments, name)]
    if arguments.corpus and wrong:
        parser.error(f"{wrong[0]} is for files, not for --corpus")


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
    if given["text2"] and "text2" not in task.columns:
        raise UserError(f"--column-text2 {given['text2']}: the template of {task.path} has no {{text2}}")
    columns = {name: given[name] or column for name, column in task.columns.items()}
    if arguments.client:
        columns["client"] = arguments.client
    if len(set(columns.values())) < len(columns):
        raise UserError(f"{', '.join(columns)} must be different columns; they are {', '.join(map(repr, columns.values()))}")
    return columns


def open_source(task: Task, arguments: argparse.Namespace, columns: dict[str, str]) -> Source:
    """Finds the splits of whatever kind of source was named."""
    seed = SEED if arguments.seed is None else arguments.seed
    if arguments.corpus:
        return open_corpus(arguments, seed)
    wanted = {split: [columns[field] for field in (*task.fields(), "label")] for split in ("dev", "test")}
    wanted["train"] = [*wanted["dev"][:-1], *([columns["client"]] if arguments.client else []), columns["label"]]
    dialect = Dialect(
        parse_names(arguments.names) if arguments.names else None,
        arguments.quoting,
        parse_delimiter(arguments.delimiter) if arguments.delimiter else None,
    )
    if arguments.dataset:
        paths = find_splits(arguments.dataset, task.splits)
        tell_unused(arguments.dataset, paths)
    else:
        given = {"train": arguments.train, "dev": arguments.dev, "test": arguments.test}
        paths = {split: expand(names, f"--{split}") for split, names in given.items() if names}
    if arguments.output.resolve() in {path.resolve() for parts in paths.values() for path in parts}:
        raise UserError(f"{arguments.output}: is one of the files to read; give --output another name")
    splits = {split: from_files(parts, wanted[split], dialect) for split, parts in paths.items()}
    tell_files(paths, arguments.dataset)
    label = arguments.dataset.resolve().name if arguments.dataset else ", ".join(f"{split}: {part.name}" for split, part in splits.items())
    digest = combined_sha256([part.sha256 for part in splits.values()])
    if arguments.test_size is not None:
        splits |= draw_test(splits["train"], arguments.test_size, seed, len(task.fields()))
    return Source(splits, label, digest)


def tell_files(paths: dict[str, list[Path]], folder: Path | None) -> None:
    """Prints which files make up each split, and warns of a file in two of them."""
    for split, parts in paths.items():
        names = [str(path.relative_to(folder) if folder else path) for path in parts]
        print(f"{split}: {some(names)}")
    for one, other in itertools.combinations(paths, 2):
        both = {path.resolve() for path in paths[one]} & {path.resolve() for path in paths[other]}
        if both:
            errors.warn(f"{one} and {other} hold the same samples, those of {min(both)}")


def tell_unused(folder: Path, paths: dict[str, list[Path]]) -> None:
    """Prints which data files of the folder no split uses."""
    others = [str(path) for path in unused(folder, paths)]
    if others:
        print(f"not used: {some(others)}")


def open_corpus(arguments: argparse.Namespace, seed: int) -> Source:
    """A packaged corpus with its drawn test split."""
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    corpus = load_corpus(arguments.corpus, arguments.output.parent)
    test_size = CORPUS_TEST_SIZE if arguments.test_size is None else arguments.test_size
    archive = CORPORA[arguments.corpus].archive
    name = f"{arguments.corpus} ({archive.package} {archive.version}), test split drawn with seed {seed}"
    return Source(draw_test(corpus, test_size, seed, 1), name, corpus.sha256)


def find_examples(
    source: Source, task: Task, columns: dict[str, str], parts: tuple[Layout, TaskTokenizer, LabelTokens], arguments: argparse.Namespace
) -> tuple[Source, Examples]:
    """Draws the examples in context out of the training samples; the source's name says so."""
    layout, tokenizer, labels = parts
    check_in_context(task, layout)
    seed = SEED if arguments.seed is None else arguments.seed
    samples = to_samples(source.splits["train"].records, task, columns, LeftOut(skip_empty=task.empty == "skip"))
    chosen = choose(samples, arguments.in_context, len(task.labels), seed)
    name = f"{source.name}; up to {len(chosen)} training samples in context, drawn with seed {seed}"
    return replace(source, name=name), make_examples(chosen, task, layout, tokenizer, labels)


def find_clients(
    source: Source, task: Task, columns: dict[str, str], examples: Examples | None, least: int | None
) -> Clients | None:
    """Finds out whose samples are taken, in a pass over the training samples where clients that have few are left out."""
    if "client" not in columns:
        return None
    clients = Clients(columns["client"])
    if least is not None:
        left_out = LeftOut(skip_empty=task.empty == "skip")
        samples = to_samples(source.splits["train"].records, task, columns, left_out, clients)
        samples = samples if examples is None else examples.without(samples, left_out)
        counts = Counter(sample.client for sample in samples)
        clients = Clients(columns["client"], [name for name, number in clients.numbers.items() if counts[number] < least])
    return clients


def find_vocabulary(
    source: Source, task: Task, columns: dict[str, str], tokenizer: TaskTokenizer, mode: str, n: int | None
) -> Vocabulary | None:
    """Chooses the words, in a pass over the training samples."""
    if n is None:
        return None
    if mode != "input":
        raise UserError(f"--vocabulary {n}: prompts of words stand in front of the text in prompt mode input alone, not {mode}")
    samples = to_samples(source.splits["train"].records, task, columns, LeftOut(skip_empty=task.empty == "skip"))
    return make_vocabulary(samples, n, tokenizer)


def encode_splits(
    source: Source,
    task: Task,
    columns: dict[str, str],
    pipeline: tuple[Layout, TaskTokenizer],
    clients: Clients | None,
    examples: Examples | None,
) -> dict[str, Table]:
    """Tokenises every split, with a progress bar where someone is watching."""
    layout, tokenizer = pipeline
    tables = {}
    for name, split in source.splits.items():
        left_out = LeftOut(skip_empty=task.empty == "skip")
        records = tqdm(split.records, desc=name, total=split.n_rows, unit=" samples", leave=False, disable=not sys.stderr.isatty())
        samples = to_samples(records, task, columns, left_out, clients if name == "train" else None)
        if examples is not None and name == "train":
            samples = examples.without(samples, left_out)
        samples = layout.sentence.checked(samples)
        tables[name] = collect(encode_samples(samples, layout, tokenizer, left_out.without_tokens))
        if not tables[name]:
            raise UserError(f"{source.name}: the {name} split has no samples ({str(left_out) or 'there are no rows'})")
        if examples is not None:
            tables[name], counts = put_in_front(tables[name], examples, layout)
            mean = sum(counts) / len(counts)
            print(f"{name}: {min(counts)} to {max(counts)} of {len(examples.bodies)} examples in front of a sample, {mean:.1f} on average")
        print(summary(name, tables[name], len(task.labels), str(left_out)))
    return tables


def summary(name: str, table: Table, n_labels: int, left_out: str) -> str:
    """One line about a split."""
    counts = np.bincount(table.labels, minlength=n_labels).tolist()
    mean = len(table.tokens) / len(table)
    by_label = "/".join(map(str, counts))
    text = f"{name}: {len(table)} samples, {mean:.1f} tokens on average, {table.n_truncated} shortened; by label {by_label}"
    return f"{text}; {left_out}" if left_out else text


def client_summary(clients: Clients, table: Table) -> str:
    """One line about the clients."""
    names, client = clients.order(table.client)
    sizes = np.sort(np.bincount(client, minlength=len(names)))
    spread = f"{sizes[0]} to {sizes[-1]} training samples each (median {sizes[(len(sizes) - 1) // 2]})"
    return f"clients by {clients.column}: {len(names)}, {spread}; for fed.partition natural set fed.clients to {len(names)}"


def attributes_of(
    task: Task, model: ModelInfo, pipeline: tuple[Layout, TaskTokenizer], source: Source, mode: str, n_prompt: int
) -> dict[str, Any]:
    """The root attributes of the file."""
    layout, tokenizer = pipeline
    return {
        "format_version": FORMAT_VERSION,
        "task": task.name,
        "template": str(layout.sentence),
        "readout": task.readout,
        "prompt_mode": mode,
        "prompt_tokens": n_prompt,
        "metric": task.metric,
        "loss": task.loss,
        "vocab_size": model.vocab_size,
        "tokenizer_sha256": model.tokenizer_sha256,
        "source": source.name.encode("utf-8", "backslashreplace").decode(),
        "source_sha256": source.sha256,
        "label_words": [label.word for label in task.labels],
        **{f"{role}_id": number for role, number in tokenizer.ids.items()},
    }


def main() -> None:
    arguments = parse_arguments()
    task = load_task(arguments.task)
    task = replace(task, empty=arguments.empty or task.empty)
    model = load_info(arguments.model, task.readout)
    mode = arguments.prompt_mode or task.prompt_mode
    n_prompt = task.prompt_tokens if arguments.prompt_tokens is None else arguments.prompt_tokens
    if n_prompt < 1:
        raise UserError(f"--prompt-tokens {n_prompt}: must be at least 1")
    tokenizer = TaskTokenizer(model)
    layout = make_layout(task, tokenizer, model, mode, n_prompt, arguments.max_tokens)
    for note in [*tokenizer.notes, *layout.notes(tokenizer)]:
        print(f"{model.folder}: {note}")
    labels = encode_labels(task, tokenizer, model, layout)
    layout = leave_room(layout, labels, task, model, mode, n_prompt)
    columns = columns_of(task, arguments)
    source = open_source(task, arguments, columns)
    examples = None
    if arguments.in_context is not None:
        source, examples = find_examples(source, task, columns, (layout, tokenizer, labels), arguments)
    clients = find_clients(source, task, columns, examples, arguments.client_min_samples)
    tables = encode_splits(source, task, columns, (layout, tokenizer), clients, examples)
    attributes = attributes_of(task, model, (layout, tokenizer), source, mode, n_prompt) | {"label_token_ids": labels.ids}
    vocabulary = find_vocabulary(source, task, columns, tokenizer, mode, arguments.vocabulary)
    write(arguments.output, attributes, tables, labels.texts, clients, vocabulary)
    if vocabulary is not None:
        print(f"vocabulary: {len(vocabulary.words)} words: {', '.join(vocabulary.words[:10])}, ...")
    if clients is not None:
        print(client_summary(clients, tables["train"]))
    print(f"{arguments.output}: task {task.name}, prompt mode {mode}, {n_prompt} prompt tokens")


if __name__ == "__main__":
    errors.run(main)
