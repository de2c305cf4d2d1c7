"""Which files of a data set folder hold which split.

A file's split is its name without what numbers its part (`train-00000-of-00003`, `train_0`, `train.0`, and a hash after it), or the
name of its folder where its own name says none (`train/data-00000-of-00001.arrow`, `train/0000.parquet`). `validation_matched` and
`train_r1` are splits of their own, not parts of `validation` and `train`. Where the data set's README.md names the files of each
split, it decides.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .card import files_by_card
from .errors import UserError
from .files import KINDS, kind_of, natural, stem_of
from .records import listed

# Our split -> names it goes by where the task does not say; the first that is there is taken.
USUAL: dict[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "dev": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing"),
}
WORDS = {word for names in USUAL.values() for word in names} | {"eval", "evaluation"}
NOT_DATA = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "config.json"}
PART_OF = re.compile(r"(?P<base>.*?)[-_. ]?(?P<number>[0-9]+)[-_. ]of[-_. ](?P<total>[0-9]+)(?:[-_.][0-9a-f]{8,})?")
PART = re.compile(r"(?P<base>.*?)(?:^|[-_. ])(?:(?:part|shard|chunk)[-_. ]?)?(?P<number>[0-9]+)")


@dataclass(frozen=True)
class Found:
    """A data file and what its name says. `number`, `total`: part, and number of parts; -1: none stated."""

    path: Path
    split: str
    own: bool  # the file's own name says the split, not its folder's
    config: Path  # folder of its configuration
    number: int
    total: int


def find_splits(folder: Path, wanted: Mapping[str, Sequence[str]] | None) -> dict[str, list[Path]]:
    """Our split -> files. `wanted`: our split -> the folder's names for it, all of which must be there and are read one after another;
    None: the usual names. There must be a train split, by its usual name unless `wanted` says another."""
    if not folder.is_dir():
        raise UserError(f"{folder}: is a file; give it with --train" if folder.exists() else f"{folder}: there is no such folder")
    names = {name.lower() for group in (wanted or {}).values() for name in group}
    stated = _by_card(folder)
    files = stated or _years(_locate(folder, path, names) for path in _data_files(folder))
    if not files:
        raise UserError(f"{folder}: no files named after a split, nor any other data files ({', '.join(KINDS)})")
    groups: dict[str, list[list[Found]]] = {}
    for split in USUAL:
        if wanted and split in wanted:
            groups[split] = _asked(folder, files, wanted[split])
        elif not wanted or split == "train":
            groups |= _usual(folder, files, split)
    found = {split: [part for group in parts for part in (group if stated else _ordered(folder, group))] for split, parts in groups.items()}
    configs = {part.config for parts in found.values() for part in parts}
    if len(configs) > 1:
        names_of_configs = listed(sorted(str(config) for config in configs))
        raise UserError(f"{folder}: several configurations hold the splits ({names_of_configs}); give the folder of one of them")
    return {split: [part.path for part in parts] for split, parts in found.items()}


def unused(folder: Path, found: Mapping[str, Sequence[Path]]) -> list[Path]:
    """The folder's data files that no split uses."""
    used = {path for paths in found.values() for path in paths}
    return [path.relative_to(folder) for path in _data_files(folder) if path not in used]


def _data_files(folder: Path) -> list[Path]:
    files = []
    for path in sorted(folder.rglob("*"), key=natural):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith((".", "__")) or part.endswith(".incomplete") for part in parts)
        hidden = hidden or path.name.startswith("cache-") or path.name in NOT_DATA
        if kind_of(path) and not hidden and path.is_file() and _is_listed(path):
            files.append(path)
    return files


def _state(folder: Path) -> dict[str, Any]:
    """Read the list that save_to_disk makes of a split's files; empty without it."""
    path = folder / "state.json"
    try:
        value = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error})") from None
    return value if isinstance(value, dict) and isinstance(value.get("_data_files"), list) else {}


def _is_listed(path: Path) -> bool:
    """Whether the state.json beside an Arrow file, where there is one, names the file: others are left from an earlier save."""
    names = [entry.get("filename") for entry in _state(path.parent).get("_data_files", []) if isinstance(entry, dict)]
    missing = [name for name in names if isinstance(name, str) and not (path.parent / name).is_file()]
    if missing:
        raise UserError(f"{path.parent / 'state.json'}: names the file {missing[0]}, which is missing; save or copy the data set again")
    return not names or path.name in names


def _locate(folder: Path, path: Path, wanted: set[str]) -> Found:
    """Split, part and configuration of a file."""
    relative = path.relative_to(folder)
    stem = stem_of(path).lower()
    base, number, total = _part(stem, wanted)
    if _says_split(base, wanted):
        return Found(path, base, True, relative.parent, number, total)
    for parent in relative.parents:
        if _says_split(parent.name.lower(), wanted):
            return Found(path, parent.name.lower(), False, parent.parent, number, total)
    split = _state(path.parent).get("_split")
    return Found(path, split.lower() if isinstance(split, str) else base or stem, False, relative.parent, number, total)


def _by_card(folder: Path) -> list[Found]:
    """The files that the data set's README.md names; its author's word goes before the files' names."""
    by_split = files_by_card(folder)
    for split, paths in by_split.items():
        check_parts(f"{folder}: the split {listed([split])}", paths)
    return [Found(path, split.lower(), False, folder, number, -1) for split, paths in by_split.items() for number, path in enumerate(paths)]


def _years(files: Iterable[Found]) -> list[Found]:
    """Numbers that do not count from 0 or 1 are no parts but names: `test_2016` and `test_2017` are splits of their own."""
    located = list(files)
    least: dict[tuple[Path, str], int] = {}
    for file in located:
        key = (file.path.parent, file.split)
        least[key] = min(least.get(key, file.number), file.number)
    named = [file.own and file.total < 0 and least[file.path.parent, file.split] > 1 for file in located]
    return [replace(file, split=stem_of(file.path).lower(), number=-1) if name else file for file, name in zip(located, named, strict=True)]


def _part(stem: str, wanted: set[str]) -> tuple[str, int, int]:
    """(name, number of the part, number of parts); a name that the task asks for is left whole."""
    match = None if stem in wanted else PART_OF.fullmatch(stem) or PART.fullmatch(stem)
    if not match:
        return stem, -1, -1
    return match["base"], int(match["number"]), int(match.groupdict().get("total") or -1)


def _says_split(name: str, wanted: set[str]) -> bool:
    return bool(WORDS & set(re.split(r"[-_. ]", name))) or any(_is_named(name, other) for other in wanted)


def _is_named(name: str, wanted: str) -> bool:
    """Whether a file's name is the wanted one, alone or after the data set's own (`snli_1.0_train`)."""
    return name == wanted or (name.endswith(wanted) and name[-len(wanted) - 1] in "-_. ")


def _matching(files: Iterable[Found], name: str) -> list[Found]:
    """The files of the split of this name; those with just this name before those with the data set's name before it."""
    exact = [file for file in files if file.split == name.lower()]
    return exact or [file for file in files if _is_named(file.split, name.lower())]


def _seen(files: Iterable[Found]) -> str:
    return listed(sorted({file.split for file in files}, key=natural))


def _asked(folder: Path, files: list[Found], names: Sequence[str]) -> list[list[Found]]:
    groups = [_matching(files, name) for name in names]
    for name, group in zip(names, groups, strict=True):
        if not group:
            raise UserError(f"{folder}: has no split {listed([name])}, which the task's splits ask for; there are {_seen(files)}")
    return groups


def _usual(folder: Path, files: list[Found], split: str) -> dict[str, list[list[Found]]]:
    """The split by its usual names; nothing where there is none, but for train."""
    found = next((group for group in (_matching(files, name) for name in USUAL[split]) if group), None)
    if found:
        return {split: [found]}
    alike = sorted({file.split for file in files if set(USUAL[split]) & set(re.split(r"[-_. ]", file.split))}, key=natural)
    if alike:
        raise UserError(
            f"{folder}: which split is {split}? There are {listed(alike)}; name one, or a list of them, in the task's splits, "
            f"for instance splits: {{{split}: {alike[0]}}} (but for train, what is not named there is not used)"
        )
    if split == "train":
        raise UserError(
            f"{folder}: no files named after a split train; there are {listed(str(file.path.relative_to(folder)) for file in files)}; name "
            f"the splits in the task (splits: {{train: NAME}}), or give files with --train and --test"
        )
    return {}


def _ordered(folder: Path, parts: list[Found]) -> list[Found]:
    """The parts of one split in order. Refuses parts of several formats, configurations or sets, and sets that are not complete."""
    split, paths = listed([parts[0].split]), listed(str(part.path.relative_to(folder)) for part in parts)
    if len({(kind_of(part.path), part.path.suffix.lower()) for part in parts}) > 1:
        raise UserError(f"{folder}: several configurations or formats hold the split {split} ({paths}); leave those of one format")
    if len({(part.path.parent, part.split, part.config) for part in parts}) > 1:
        raise UserError(f"{folder}: several configurations hold the split {split} ({paths}); give the folder of one of them")
    numbers, totals = sorted(part.number for part in parts), {part.total for part in parts}
    counted = numbers[0] >= 0 and len(set(numbers)) == len(numbers) and len(totals) == 1
    if not counted and len(parts) > 1 and (parts[0].own or totals != {-1}):
        raise UserError(f"{folder}: the split {split} is there more than once ({paths}); leave one set of files")
    if counted:
        _check_complete(f"{folder}: the split {split}", numbers, parts[0].total)
    return sorted(parts, key=lambda part: (part.number, natural(part.path)))


def check_parts(what: str, paths: Iterable[Path]) -> None:
    """Refuses files of which parts are missing, by the number of parts that their names state (`-of-00003`)."""
    sets: dict[tuple[Path, str, int], list[int]] = {}
    for path in paths:
        base, number, total = _part(stem_of(path).lower(), set())
        if total > 0:
            sets.setdefault((path.parent, base, total), []).append(number)
    for (_, base, total), numbers in sets.items():
        _check_complete(f"{what}: the set of files {listed([base])}", sorted(numbers), total)


def _check_complete(what: str, numbers: list[int], total: int) -> None:
    """Parts count from 0 or 1, without gaps, up to the number that their names state."""
    first = 1 if 0 not in numbers and (total < 0 or total in numbers) else 0
    expected = range(first, first + total) if total > 0 else range(first, numbers[-1] + 1)
    missing = sorted(set(expected) - set(numbers))
    if missing:
        of = f" of {total}" if total > 0 else ""
        parts = ", ".join(map(str, missing[:8])) + (" and more" if len(missing) > 8 else "")
        raise UserError(f"{what} lacks part {parts}{of}; download it again, or give those files that are meant one by one with --train")
