"""A model's own chat template around a task's template, rendered as transformers (5.24) renders it.

The task's template is one message of the user, to be answered by the model. It is rendered once, with marks in the places of its texts;
what then stands around the marks is fixed text. So that no text is staged otherwise than transformers would render it (some templates
trim a message, or cut it), each sample is rendered, too, and compared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.sandbox

from .errors import UserError
from .samples import Sample
from .task import Piece

FILE, CONFIG = "chat_template.jinja", "tokenizer_config.json"
MARK = "\ue000{}\ue001"
DATE = "strftime_now"


class _Generation(jinja2.ext.Extension):
    """The block {% generation %}, which marks answers for training and writes what is in it."""

    tags = {"generation"}

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _to_json(value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


class ChatTemplate:
    """A folder's chat template. `special`: its special tokens by name. `notes`: lines for the user."""

    def __init__(self, folder: Path, keys: Mapping[str, Any], special: Mapping[str, str]) -> None:
        self.place, source = _find(folder, keys)
        self.special = special
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise
        try:
            self.template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise UserError(f"{self.place}: the chat template cannot be read ({error})") from None
        self.notes = [f"{self.place}: the chat template is rendered without today's date ({DATE})"] if DATE in source else []

    def render(self, content: str) -> str:
        """One message of the user, and the beginning of the answer."""
        messages = [{"role": "user", "content": content}]
        try:
            return self.template.render(messages=messages, tools=None, documents=None, add_generation_prompt=True, **self.special)
        except (jinja2.TemplateError, TypeError, ValueError, KeyError, IndexError) as error:
            hint = "; it wants a date, with which no two stagings would be alike" if DATE in str(error) else ""
            raise UserError(f"{self.place}: the chat template cannot be rendered ({error}){hint}") from None

    def wrap(self, pieces: list[Piece]) -> list[Piece]:
        """The pieces of a task's template with those of the chat template around them."""
        content = "".join(literal if kind == "literal" else MARK.format(kind) for kind, literal in pieces)
        parts = re.split("\ue000(\\w+)\ue001", self.render(content))
        if parts[1::2] != [kind for kind, _ in pieces if kind != "literal"]:
            raise UserError(f"{self.place}: the chat template does not write the message of the user once and whole")
        found = [("literal", part) if number % 2 == 0 else (part, "") for number, part in enumerate(parts)]
        return [piece for piece in found if piece != ("literal", "")]


@dataclass(frozen=True)
class Sentence:
    """The pieces of a task's template (`inside`), and those that are tokenised (`pieces`): the same, or with `chat` around them."""

    inside: list[Piece]
    pieces: list[Piece]
    chat: ChatTemplate | None = None

    def __str__(self) -> str:
        return "".join(literal if kind == "literal" else f"{{{kind}}}" for kind, literal in self.pieces)

    def checked(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        """Samples, each compared with what the chat template makes of it."""
        for sample in samples:
            if self.chat is not None and self.chat.render(_written(self.inside, sample.texts)) != _written(self.pieces, sample.texts):
                raise UserError(
                    f"{sample.place}: {self.chat.place}: the chat template makes something else of this text than of others; strip: true "
                    f"in the task removes white space around texts, and replace changes what is inside"
                )
            yield sample


def _written(pieces: list[Piece], texts: tuple[str, ...]) -> str:
    values = {"text": texts[0], "text2": texts[-1], "prompt": MARK.format("prompt")}
    return "".join(literal if kind == "literal" else values[kind] for kind, literal in pieces)


def _find(folder: Path, keys: Mapping[str, Any]) -> tuple[str, str]:
    """Where the template stands, and its source. As in transformers a file of its own comes first, and of several the default counts."""
    if (folder / FILE).is_file():
        return str(folder / FILE), (folder / FILE).read_text(encoding="utf-8")
    source = keys.get("chat_template")
    if isinstance(source, list):
        named = {entry.get("name"): entry.get("template") for entry in source if isinstance(entry, dict)}
        source = named.get("default")
    if not isinstance(source, str):
        raise UserError(f"{folder}: has no chat template ({FILE}, or chat_template in {CONFIG}), which the task's chat: true asks for")
    return f"{folder / CONFIG}: chat_template", source
