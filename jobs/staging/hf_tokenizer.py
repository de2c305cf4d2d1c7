"""A model folder's tokenizer, put together as transformers' AutoTokenizer (5.24) does it.

Several files of a folder state the same facts. tokenizer.json is one of them; the classes that transformers keeps for BERT, RoBERTa,
XLM-RoBERTa, GPT-2 (OPT), Qwen2 (Qwen3), GPT-NeoX and Llama take no more than the vocabulary from it and build the rest anew from
tokenizer_config.json. So does this module, with the same calls of the same library, and it notes what then differs from tokenizer.json.
Where the difference comes from a default of transformers that no file states, nobody can tell what the folder's author meant: that is
refused.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from .errors import UserError
from .model import read_json

CONFIG, SPECIAL, ADDED = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")

# Names under which transformers knows the same class; a final "Fast" is dropped first.
SAME_CLASS = dict.fromkeys(("ElectraTokenizer", "MobileBertTokenizer", "LayoutLMTokenizer", "SqueezeBertTokenizer"), "BertTokenizer")
SAME_CLASS |= {"DistilBertTokenizer": "BertTokenizer", "BartTokenizer": "RobertaTokenizer", "LongformerTokenizer": "RobertaTokenizer"}
SAME_CLASS |= dict.fromkeys(("PreTrainedTokenizer", "PythonBackend"), "TokenizersBackend")
OF_MODEL_TYPE = {"bert": "BertTokenizer", "distilbert": "BertTokenizer", "roberta": "RobertaTokenizer"}
OF_MODEL_TYPE |= {"xlm-roberta": "XLMRobertaTokenizer", "gpt2": "GPT2Tokenizer", "opt": "GPT2Tokenizer"}
OF_MODEL_TYPE |= {"gpt_neox": "GPTNeoXTokenizer", "qwen2": "Qwen2Tokenizer", "qwen3": "Qwen2Tokenizer"}
AS_IT_IS = "TokenizersBackend"
# Model types whose class counts, whatever class their folders state.
OVERRULED = {"mistral": AS_IT_IS, "qwen2": "Qwen2Tokenizer"}

# An option in tokenizer.json -> the key of tokenizer_config.json that decides it.
DECIDED_BY = {"lowercase": "do_lower_case", "handle_chinese_chars": "tokenize_chinese_chars", "prepend_scheme": "add_prefix_space"}

Token = str | AddedToken


@dataclass
class Facts:
    """Statements of the files of a folder. `keys`: tokenizer_config.json as transformers completes it; `source`: the file of a key;
    `listed`: added tokens by the ids that a file states for them."""

    folder: Path
    serialized: dict[str, Any]
    backend: Tokenizer
    keys: dict[str, Any]
    source: dict[str, str]
    listed: dict[int, AddedToken] = field(default_factory=dict)
    listed_in: str = "tokenizer.json"
    class_name: str = AS_IT_IS
    class_source: str = ""

    def where(self, key: str) -> str:
        return f"{self.folder / self.source.get(key, CONFIG)}: {key}"

    def flag(self, key: str, default: bool | None) -> bool | None:
        """A key that is true or false (or null, where that is the default)."""
        value = self.keys.get(key, default)
        if not isinstance(value, bool) and not (value is None and default is None):
            raise UserError(f"{self.where(key)} must be true or false, not {value!r}")
        return value


@dataclass(frozen=True)
class Assembled:
    """The tokenizer as transformers would make it. `n_tokens`: one more than its highest id; `named`: its special tokens; `notes`: what
    differs from tokenizer.json."""

    backend: Tokenizer
    n_tokens: int
    named: dict[str, str]
    keys: dict[str, Any]
    notes: list[str]


def assemble(folder: Path) -> Assembled:
    """Reads a folder's tokenizer."""
    facts = _read_facts(folder)
    _choose_class(facts)
    named = _named_tokens(facts)
    if facts.class_name == AS_IT_IS:
        backend = facts.backend
    else:
        backend = CLASSES[facts.class_name].build(facts, named)
        backend.post_processor = facts.backend.post_processor
    _add_tokens(facts, backend, named)
    _check_ids(facts, backend, named)
    if facts.class_name != AS_IT_IS:
        CLASSES[facts.class_name].wrap(facts, backend, named)
    notes = _differences(facts, backend)
    return Assembled(backend, _n_tokens(facts, backend), {key: str(token) for key, token in named.items()}, facts.keys, notes)


def _read_facts(folder: Path) -> Facts:
    path = folder / "tokenizer.json"
    try:
        backend = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        raise UserError(f"{path}: not a tokenizer that this version of tokenizers reads ({error})") from None
    keys = read_json(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    for key in ("fast_tokenizer_files", "gguf_file"):
        if keys.get(key):
            raise UserError(f"{folder / CONFIG}: {key} names other tokenizer files ({keys[key]!r}), which is not followed; remove the key")
    if keys.get("fix_mistral_regex"):
        raise UserError(f"{folder / CONFIG}: fix_mistral_regex changes how text is cut, which is not followed; save what it makes")
    serialized = read_json(path)
    facts = Facts(folder, serialized, backend, keys, dict.fromkeys(keys, CONFIG))
    if "added_tokens_decoder" in keys:
        entries = _mapping(facts, "added_tokens_decoder", keys["added_tokens_decoder"])
        facts.listed = {_number(facts, key): _added(facts, "added_tokens_decoder", entry) for key, entry in entries.items()}
        facts.listed_in = CONFIG
    else:
        _read_older_files(facts)
    return facts


def _read_older_files(facts: Facts) -> None:
    """special_tokens_map.json and added_tokens.json, which count where tokenizer_config.json has no added_tokens_decoder."""
    if (facts.folder / SPECIAL).is_file():
        for key, value in read_json(facts.folder / SPECIAL).items():
            facts.keys[key] = value
            facts.source[key] = SPECIAL
    if (facts.folder / ADDED).is_file():
        special = {_content(facts.keys.get(key)) for key in NAMED}
        for content, number in read_json(facts.folder / ADDED).items():
            if not isinstance(number, int):
                raise UserError(f"{facts.folder / ADDED}: the id of {content!r} is {number!r}, not a whole number")
            known = content in special
            facts.listed[number] = AddedToken(content, normalized=not known, special=known)
            facts.listed_in = ADDED
    for entry in facts.serialized.get("added_tokens") or []:
        token = AddedToken(entry["content"], **{flag: entry[flag] for flag in FLAGS if flag in entry})
        other = facts.listed.get(entry["id"])
        if other is not None and other.content != token.content:
            raise UserError(
                f"{facts.folder / ADDED}: id {entry['id']} is {other.content!r}, but in tokenizer.json it is {token.content!r}; "
                f"remove the file that is out of date"
            )
        facts.listed[entry["id"]] = token


def _mapping(facts: Facts, key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{facts.where(key)} must be a JSON object")
    return value


def _number(facts: Facts, key: str) -> int:
    if not key.isdecimal():
        raise UserError(f"{facts.where('added_tokens_decoder')} has the id {key!r}, which is not a whole number")
    return int(key)


def _content(entry: Any) -> str | None:
    content = entry.get("content") if isinstance(entry, dict) else entry
    return content if isinstance(content, str) and content else None


def _added(facts: Facts, key: str, entry: Any, **fixed: bool) -> AddedToken:
    content = _content(entry)
    if content is None or not isinstance(entry, dict):
        raise UserError(f"{facts.where(key)} holds {entry!r}, which is no token")
    return AddedToken(content, **{flag: bool(entry[flag]) for flag in FLAGS if flag in entry} | fixed)


def _choose_class(facts: Facts) -> None:
    """The class by tokenizer_config.json, else by config.json, else by the model type, which for some types counts alone."""
    model = read_json(facts.folder / "config.json") if (facts.folder / "config.json").is_file() else {}
    model_type = str(model.get("model_type"))
    stated = OF_MODEL_TYPE.get(model_type, AS_IT_IS)
    for name, value in ((CONFIG, facts.keys.get("tokenizer_class")), ("config.json", model.get("tokenizer_class"))):
        if isinstance(value, str) and value:
            stated = OVERRULED.get(model_type, value.removesuffix("Fast"))
            facts.class_source = f"{name}: tokenizer_class {value}"
            facts.class_source += f" of a {model_type} model" if stated != value.removesuffix("Fast") else ""
            break
    facts.class_name = SAME_CLASS.get(stated, stated)
    if facts.class_name == "LlamaTokenizer" and '"ByteLevel"' in json.dumps(facts.serialized):
        facts.class_name = AS_IT_IS
    if facts.class_name == AS_IT_IS:
        return
    if facts.class_name not in CLASSES:
        raise UserError(
            f"{facts.folder}/{facts.class_source}: this program knows {', '.join([*CLASSES, 'PreTrainedTokenizerFast'])}; "
            f"the last takes tokenizer.json as it is"
        )
    kind, wanted = type(facts.backend.model).__name__, CLASSES[facts.class_name].kind
    if kind != wanted:
        reason = facts.class_source or f"config.json: model_type {model_type}"
        raise UserError(
            f"{facts.folder}: tokenizer.json holds a {kind} model, but transformers makes a {facts.class_name} ({wanted}) of it, because "
            f'of {reason}; write "tokenizer_class": "PreTrainedTokenizerFast" into {CONFIG} to take tokenizer.json as it is'
        )


def _named_tokens(facts: Facts) -> dict[str, Token]:
    """The special tokens by name, as the files state them or, for a class of its own, as the class has them by default."""
    defaults = dict(CLASSES[facts.class_name].tokens) if facts.class_name != AS_IT_IS else {}
    listed = {token.content: token for token in facts.listed.values()}
    extra = [key for key, value in facts.keys.items() if key.endswith("_token") and key not in NAMED and not isinstance(value, bool)]
    named: dict[str, Token] = {}
    for key in (*NAMED, *extra):
        value = facts.keys.get(key, defaults.get(key))
        if value is None:
            continue
        content = _content(value)
        if content is None:
            raise UserError(f"{facts.where(key)} is {value!r}, not a token")
        token: Token = content
        if isinstance(value, dict):
            token = _added(facts, key, value, **({"special": True} if facts.source.get(key) == SPECIAL else {}))
        named[key] = listed.get(content, token)
    return named


def _extra_tokens(facts: Facts) -> list[Token]:
    """Further special tokens without a role."""
    key = "extra_special_tokens" if facts.keys.get("extra_special_tokens") else "additional_special_tokens"
    value = facts.keys.get(key) or []
    entries = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(entries, list):
        raise UserError(f"{facts.where(key)} must be a list of tokens")
    return [entry if isinstance(entry, str) else _added(facts, key, entry, special=True) for entry in entries]


def _add_tokens(facts: Facts, backend: Tokenizer, named: dict[str, Token]) -> None:
    """Adds what is not there yet, in transformers' order, which decides ids beyond the vocabulary. A default of the class that the
    vocabulary lacks is left out: the model has no row for it."""
    present = {repr(token) for token in backend.get_added_tokens_decoder().values()}
    tokens: list[Token] = [token for _, token in sorted(facts.listed.items()) if repr(token) not in present]
    known = {token.content for token in backend.get_added_tokens_decoder().values()} | {str(token) for token in tokens}
    for key, token in [*named.items(), *((None, token) for token in _extra_tokens(facts))]:
        if str(token) in known:
            continue
        if backend.token_to_id(str(token)) is None and facts.backend.token_to_id(str(token)) is None:
            if key in facts.keys:
                raise UserError(f"{facts.where(str(key))} is {str(token)!r}, which is not in the vocabulary of tokenizer.json")
            if key is not None:
                continue
        known.add(str(token))
        tokens.append(token)
    roles = {str(token) for token in named.values()}
    made = [AddedToken(token, special=True) if isinstance(token, str) else token for token in tokens]
    for token in made:
        token.special = token.special or token.content in roles
    backend.add_tokens(made)
    for key in [key for key, token in named.items() if backend.token_to_id(str(token)) is None]:
        del named[key]


def _check_ids(facts: Facts, backend: Tokenizer, named: dict[str, Token]) -> None:
    """Every token has the id that a file states for it, and the model finds its token for unknown words."""
    for number, token in facts.listed.items():
        found = backend.token_to_id(token.content)
        if found != number:
            where = facts.folder / facts.listed_in
            raise UserError(f"{where}: gives {token.content!r} the id {number}, but in the vocabulary it has {found}")
    for key, named_token in named.items():
        before, after = (tokenizer.token_to_id(str(named_token)) for tokenizer in (facts.backend, backend))
        if before not in (None, after):
            stated = facts.where(key)
            raise UserError(f"{stated} is {str(named_token)!r}: its id is {before} in tokenizer.json, but transformers gives it {after}")
    unknown = getattr(backend.model, "unk_token", None)
    if unknown is not None and backend.token_to_id(unknown) is None:
        raise UserError(f"{facts.folder / 'tokenizer.json'}: its vocabulary lacks {unknown!r}, the token for unknown words")
    for key in CLASSES[facts.class_name].around if facts.class_name != AS_IT_IS else ():
        if key not in named:
            raise UserError(f"{facts.folder}: tokenizer.json's vocabulary lacks the {key} that {facts.class_name} puts around a text")


def _n_tokens(facts: Facts, backend: Tokenizer) -> int:
    vocabulary = facts.serialized["model"]["vocab"]
    last = max(vocabulary.values(), default=-1) if isinstance(vocabulary, dict) else len(vocabulary) - 1
    return 1 + max([last, *backend.get_added_tokens_decoder()])


# The classes of transformers that build the tokenizer anew.


def _bert(facts: Facts, named: dict[str, Token]) -> Tokenizer:
    made = Tokenizer(models.WordPiece(facts.serialized["model"]["vocab"], unk_token=str(named.get("unk_token", "[UNK]"))))
    made.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=bool(facts.flag("tokenize_chinese_chars", True)),
        strip_accents=facts.flag("strip_accents", None),
        lowercase=bool(facts.flag("do_lower_case", True)),
    )
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece(prefix="##")
    return made


def _merges(facts: Facts) -> list[tuple[str, str]]:
    pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in facts.serialized["model"]["merges"])
    return [(first, second) for first, second in pairs]


def _byte_level(facts: Facts, _: dict[str, Token]) -> Tokenizer:
    vocabulary, affixes = facts.serialized["model"]["vocab"], {"continuing_subword_prefix": "", "end_of_word_suffix": ""}
    model = models.BPE(vocabulary, _merges(facts), dropout=None, fuse_unk=False, **affixes)
    made = Tokenizer(model)
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=bool(facts.flag("add_prefix_space", False)))
    made.decoder = decoders.ByteLevel()
    return made


def _gpt_neox(facts: Facts, named: dict[str, Token]) -> Tokenizer:
    made = _byte_level(facts, named)
    made.normalizer = normalizers.NFC()
    return made


def _qwen2(facts: Facts, named: dict[str, Token]) -> Tokenizer:
    made = _gpt_neox(facts, named)
    space = bool(facts.flag("add_prefix_space", None))
    words = pre_tokenizers.Split(Regex(QWEN2_WORDS), behavior="isolated", invert=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=space, use_regex=False)])
    return made


def _xlm_roberta(facts: Facts, _: dict[str, Token]) -> Tokenizer:
    vocabulary = [(piece, score) for piece, score in facts.serialized["model"]["vocab"]]
    unknown = facts.serialized["model"].get("unk_id")
    if unknown != 3:
        raise UserError(f"{facts.folder / 'tokenizer.json'}: unk_id is {unknown}, but transformers' XLMRobertaTokenizer takes 3")
    made = Tokenizer(models.Unigram(vocabulary, unk_id=3, byte_fallback=False))
    charsmap = next((part["precompiled_charsmap"] for part in _normalizers(facts) if part.get("type") == "Precompiled"), None)
    if charsmap is not None:
        made.normalizer = normalizers.Precompiled(base64.b64decode(charsmap))
    scheme = "always" if facts.flag("add_prefix_space", True) else "never"
    metaspace = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme)
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace])
    made.decoder = decoders.Metaspace(replacement="▁", prepend_scheme=scheme)
    return made


def _normalizers(facts: Facts) -> list[dict[str, Any]]:
    """The parts of tokenizer.json's normalizer."""
    outer = facts.serialized.get("normalizer") or {}
    return outer["normalizers"] if outer.get("type") == "Sequence" else [outer]


def _llama(facts: Facts, _: dict[str, Token]) -> Tokenizer:
    model = facts.serialized["model"]
    made = Tokenizer(models.BPE(model["vocab"], _merges(facts), fuse_unk=True, byte_fallback=True, dropout=None))
    space = facts.flag("add_prefix_space", None)
    scheme = "never" if space is False else "always" if facts.flag("legacy", False) else "first"
    made.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme, split=False)
    return made


def _wrap_bert(_: Facts, backend: Tokenizer, named: dict[str, Token]) -> None:
    first, last = str(named["cls_token"]), str(named["sep_token"])
    ids = [(token, backend.token_to_id(token)) for token in (first, last)]
    backend.post_processor = processors.TemplateProcessing(single=f"{first}:0 $A:0 {last}:0", special_tokens=ids)


def _wrap_roberta(facts: Facts, backend: Tokenizer, named: dict[str, Token]) -> None:
    first, last = ((str(named[key]), backend.token_to_id(str(named[key])) or 0) for key in ("cls_token", "sep_token"))
    trim, space = bool(facts.flag("trim_offsets", True)), bool(facts.flag("add_prefix_space", False))
    backend.post_processor = processors.RobertaProcessing(last, first, trim, space)


def _wrap_xlm_roberta(_: Facts, backend: Tokenizer, named: dict[str, Token]) -> None:
    first, last = str(named["bos_token"]), str(named["eos_token"])
    ids = [(token, backend.token_to_id(token)) for token in (first, last)]
    backend.post_processor = processors.TemplateProcessing(single=[first, "$A", last], special_tokens=ids)


def _wrap_in_nothing(_: Facts, backend: Tokenizer, __: dict[str, Token]) -> None:
    """Whatever tokenizer.json and the keys add_bos_token and add_eos_token say, of which transformers reads none here."""
    backend.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])


def _wrap_as_stated(_: Facts, __: Tokenizer, ___: dict[str, Token]) -> None:
    """Keeps tokenizer.json's own."""


@dataclass(frozen=True)
class Class:
    """A class of transformers. `kind`: its model; `tokens`: its special tokens where no file states them; `around`: those that it
    puts around a text."""

    kind: str
    tokens: dict[str, str]
    around: tuple[str, ...]
    build: Callable[[Facts, dict[str, Token]], Tokenizer]
    wrap: Callable[[Facts, Tokenizer, dict[str, Token]], None]


BERT_TOKENS = {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[MASK]"}
ROBERTA_TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "cls_token": "<s>"}
ROBERTA_TOKENS |= {"unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>"}
GPT2_TOKENS = dict.fromkeys(("unk_token", "bos_token", "eos_token"), "<|endoftext|>")
NEOX_TOKENS = GPT2_TOKENS | {"pad_token": "<|padding|>"}
QWEN2_TOKENS = dict.fromkeys(("unk_token", "eos_token", "pad_token"), "<|endoftext|>")
# transformers' PRETOKENIZE_REGEX of Qwen2.
QWEN2_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA_TOKENS = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
CLASSES = {
    "BertTokenizer": Class("WordPiece", BERT_TOKENS, ("cls_token", "sep_token"), _bert, _wrap_bert),
    "RobertaTokenizer": Class("BPE", ROBERTA_TOKENS, ("cls_token", "sep_token"), _byte_level, _wrap_roberta),
    "XLMRobertaTokenizer": Class("Unigram", ROBERTA_TOKENS, ("bos_token", "eos_token"), _xlm_roberta, _wrap_xlm_roberta),
    "GPT2Tokenizer": Class("BPE", GPT2_TOKENS, (), _byte_level, _wrap_as_stated),
    "GPTNeoXTokenizer": Class("BPE", NEOX_TOKENS, (), _gpt_neox, _wrap_in_nothing),
    "Qwen2Tokenizer": Class("BPE", QWEN2_TOKENS, (), _qwen2, _wrap_as_stated),
    "LlamaTokenizer": Class("BPE", LLAMA_TOKENS, (), _llama, _wrap_as_stated),
}


def _differences(facts: Facts, made: Tokenizer) -> list[str]:
    """List what the class makes otherwise than tokenizer.json states it; refused where neither a key nor a class is stated for it."""
    if facts.class_name == AS_IT_IS:
        return []
    notes = []
    before, after = _parts(facts.backend), _parts(made)
    if facts.class_name == "XLMRobertaTokenizer":  # the library does not tell this of a Unigram model
        before["model"]["byte_fallback"], after["model"]["byte_fallback"] = facts.serialized["model"].get("byte_fallback", False), False
    for name, old, new in _changes(before, after):
        option = name.rpartition(".")[2]
        key = DECIDED_BY.get(option, option)
        stated = f"{facts.source[key]}: {key}" if key in facts.keys else facts.class_source
        if not stated:
            state = f'"{key}", or ' if option in (*DECIDED_BY, "strip_accents", "add_prefix_space") else ""
            raise UserError(
                f"{facts.folder}: {name} is {_shown(old)} in tokenizer.json, but transformers' {facts.class_name}, the class of this model "
                f"type, takes {_shown(new)}; state it in {CONFIG}: {state}"
                f'"tokenizer_class": "PreTrainedTokenizerFast" to take tokenizer.json as it is, or "{facts.class_name}"'
            )
        notes.append(f"{name} is {_shown(new)}, as in transformers ({stated}), not {_shown(old)} as in tokenizer.json")
    return notes


def _changes(before: dict[str, Any], after: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Name the differences: a part by its kinds where these differ, else option by option."""
    for part in before:
        old, new = (dict(_leaves(parts[part], part)) for parts in (before, after))
        kinds = [", ".join(value for name, value in leaves.items() if name.endswith(".type")) for leaves in (old, new)]
        if kinds[0] != kinds[1]:
            yield part, kinds[0] or None, kinds[1] or None
            continue
        for name in sorted(set(old) | set(new)):
            if old.get(name) != new.get(name) and (old.get(name) or new.get(name) or False in (old.get(name), new.get(name))):
                yield name, old.get(name), new.get(name)


def _shown(value: Any) -> str:
    text = "absent" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:36]} ..."


MODEL_OPTIONS: tuple[str, ...] = ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk")
MODEL_OPTIONS += ("byte_fallback", "ignore_merges", "max_input_chars_per_word")


def component(part: Any) -> Any:
    """A normalizer or pre-tokenizer as tokenizer.json would hold it; of a whole tokenizer this would take seconds."""
    return None if part is None else json.loads(part.__getstate__())


def _parts(tokenizer: Tokenizer) -> dict[str, Any]:
    """Collect all of a tokenizer that decides ids, but for its vocabulary and the tokens it puts around a text."""
    model = {option: getattr(tokenizer.model, option, None) for option in MODEL_OPTIONS}
    return {"normalizer": component(tokenizer.normalizer), "pre_tokenizer": component(tokenizer.pre_tokenizer), "model": model}


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Name and value of every leaf; a sequence of one part counts as that part."""
    if isinstance(value, dict):
        inner = value.get("normalizers") or value.get("pretokenizers")
        if value.get("type") == "Sequence" and isinstance(inner, list) and len(inner) == 1:
            yield from _leaves(inner[0], name)
            return
        for key, part in value.items():
            if key not in ("trim_offsets", "use_regex") or part is False and key == "use_regex":
                yield from _leaves(part, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from _leaves(part, f"{name}.{number}")
    else:
        yield name, value
