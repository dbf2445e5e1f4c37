"""A corpus in one TOML file: sources, steps, duplicates, output.

```toml
name = "clinical"
[[sources]]
name = "pubmed"
format = "pubmed"
paths = ["baseline/*.xml.gz"]
[[steps]]
name = "quality"
min_words = 20
```
Nothing is passed over in silence: an unknown key is an error with the names that are close. Paths
are relative to the file, and may hold environment variables: `$MEDMT5_DATA_DIR/raw`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from etils import epath

from medmt5.corpus import duplicates
from medmt5.corpus.documents import Document
from medmt5.corpus.readers import inputs, reader_of
from medmt5.corpus.readers.base import Reader
from medmt5.corpus.records import RECORDS
from medmt5.corpus.settings import check_keys, check_one, check_settings, made
from medmt5.corpus.steps import STEPS
from medmt5.files import absolute, is_remote

COMPRESSIONS = ("gz", "zst", "")
FORMATS = ("jsonl", *RECORDS)
# Settings of steps that are paths: files and patterns, or a table of files.
STEP_PATHS = {"contamination": "files", "medical": "keywords"}
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """Files of one origin and format.

    Attributes:
      name: what documents carry as their source; a plain file name.
      format: of `readers.READERS`.
      paths: files, folders or patterns, as the file has them.
      priority: of two equal documents the one from the source with the higher priority stays.
      settings: of the reader.
    """

    name: str
    format: str
    paths: tuple[str, ...]
    priority: int = 0
    settings: Mapping[str, Any]

    def reader(self) -> Reader:
        return reader_of(self.name, self.format, self.settings)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """What happens to every document.

    Attributes:
      name: of `steps.STEPS`.
      settings: of the step; paths are absolute.
      sources: whose documents alone it is for; empty means all.
    """

    name: str
    settings: Mapping[str, Any]
    sources: tuple[str, ...] = ()

    def made(self) -> Callable[[Document], Any]:
        """The step, ready to be called."""
        return STEPS[self.name](**self.settings)

    def is_for(self, source: str) -> bool:
        return not self.sources or source in self.sources


@dataclasses.dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Which documents count as the same.

    Attributes:
      exact: those of the same words.
      near: those whose estimated Jaccard similarity reaches the threshold.
      threshold: in (0, 1].
    """

    exact: bool = True
    near: bool = True
    threshold: float = duplicates.THRESHOLD

    def __post_init__(self):
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold is {self.threshold}; use a number in (0, 1]")

    @property
    def kinds(self) -> list[str]:
        return [kind for kind in ("exact", "near") if getattr(self, kind)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Output:
    """What is written.

    Attributes:
      format: of `FORMATS`.
      compression: of JSON lines: of `COMPRESSIONS`.
      vocabulary: path of a SentencePiece model to count tokens with; "" counts none.
    """

    format: str = "jsonl"
    compression: str = "gz"
    vocabulary: str = ""

    def __post_init__(self):
        for name, known in (("format", FORMATS), ("compression", COMPRESSIONS)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}; use one of {', '.join(map(repr, known))}"
                )
        if self.vocabulary and not epath.Path(self.vocabulary).exists():
            raise ValueError(f"vocabulary: no file {self.vocabulary}")

    @property
    def suffix(self) -> str:
        """How the names of shards end."""
        if self.format in RECORDS:
            return RECORDS[self.format][0]
        return ".jsonl" + (f".{self.compression}" if self.compression else "")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """A whole build.

    Attributes:
      name: of the corpus.
      folder: of the file, which relative paths start from.
      sources: in the order of the file.
      steps: in the order in which they run.
      duplicates: which ones go.
      output: what is written.
      toml: the file.
      variables: of the environment that it names; workers on other machines may lack them.
    """

    name: str
    folder: str
    sources: tuple[Source, ...]
    steps: tuple[Step, ...]
    duplicates: Duplicates
    output: Output
    toml: str
    variables: Mapping[str, str]

    @property
    def given(self) -> dict[str, Any]:
        """The tables of the file."""
        return tomllib.loads(self.toml)

    @property
    def text(self) -> str:
        """The same as canonical JSON: equal ones make equal corpora of equal files."""
        return json.dumps(self.given, sort_keys=True, ensure_ascii=False, default=str)

    def files(self) -> list[tuple[Source, str]]:
        """Every input file, source by source.

        Raises:
          ValueError: a pattern that nothing matches.
        """
        found = []
        for source in self.sources:
            paths = [_located(path, self.folder) for path in source.paths]
            found += [(source, path) for path in inputs(f"[[sources]] {source.name}", paths)]
        return found

    def other_files(self) -> list[tuple[str, str]]:
        """Files beside the documents that decide about the result, with what they are for."""
        found = []
        for step in self.steps:
            paths = step.settings.get(STEP_PATHS.get(step.name, ""), ())
            found += [(step.name, path) for path in (paths.values() if _is_table(paths) else paths)]
        if self.output.vocabulary:
            found.append(("vocabulary", self.output.vocabulary))
        return found

    def shown(self, path: str) -> str:
        """A path as it is on every machine: after its variable, or from the file's folder."""
        for name, value in self.variables.items():
            if path.startswith(f"{value}/"):
                return f"${name}{path.removeprefix(value)}"
        return path.removeprefix(f"{self.folder}/")


def load(path: str) -> CorpusConfig:
    """Read and check a configuration.

    Raises:
      ValueError: no such file, no TOML, an unknown key or setting, or one that does not fit.
    """
    try:
        toml = epath.Path(path).read_bytes().decode()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error}") from error
    try:
        return parse(toml, os.path.dirname(absolute(path)))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def parse(toml: str, folder: str) -> CorpusConfig:
    """A configuration from the text of its file.

    Raises:
      ValueError: as for `load`.
    """
    try:
        given = tomllib.loads(toml)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"no TOML: {error}") from error
    fields = ("name", "sources", "steps", "duplicates", "output")
    check_keys("the file", given, fields)
    name = given.get("name", "corpus")
    if not isinstance(name, str):
        raise ValueError(f"name is {name!r}; it must be a string")
    sources = tuple(
        _source(number, table) for number, table in enumerate(_tables(given, "sources"), 1)
    )
    if not sources:
        raise ValueError("there are no [[sources]]")
    names = [source.name for source in sources]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two sources are named {twice[0]!r}")
    output = dict(_table(given, "output"))
    if isinstance(output.get("vocabulary"), str) and output["vocabulary"]:
        output["vocabulary"] = _located(output["vocabulary"], folder)
    return CorpusConfig(
        name=name,
        folder=folder,
        sources=sources,
        steps=tuple(_step(table, folder, names) for table in _tables(given, "steps")),
        duplicates=made("[duplicates]", Duplicates, _table(given, "duplicates")),
        output=made("[output]", Output, output),
        toml=toml,
        variables={
            name: value
            for name in map("".join, _VARIABLE.findall(toml))
            if (value := _variable(name))
        },
    )


def _table(given: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    table = given.get(key, {})
    if not _is_table(table):
        raise ValueError(f"write [{key}], once")
    return table


def _tables(given: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    tables = given.get(key, [])
    if not isinstance(tables, list) or not all(map(_is_table, tables)):
        raise ValueError(f"write [[{key}]], once for each")
    return tables


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


def _source(number: int, table: Mapping[str, Any]) -> Source:
    where = f"[[sources]] {table.get('name', number)}"
    given = dict(table)
    own = {key: given.pop(key) for key in ("name", "format", "paths", "priority") if key in given}
    for key in ("name", "format", "paths"):
        if key not in own:
            raise ValueError(f"{where} has no {key}")
    if not isinstance(own["name"], str) or not re.fullmatch(r"[\w-]+", own["name"]):
        raise ValueError(f"{where}: a name is letters, digits, - and _, as in `pubmed-2026`")
    paths = _strings(where, "paths", own["paths"])
    if type(own.get("priority", 0)) is not int:
        raise ValueError(f"{where}: priority is {own['priority']!r}; it must be a whole number")
    source = Source(**(own | {"paths": paths}), settings=given)
    source.reader()
    return source


def _step(table: Mapping[str, Any], folder: str, known: Sequence[str]) -> Step:
    settings = dict(table)
    name = settings.pop("name", None)
    check_one("[[steps]]", "name", name, STEPS)
    where = f"[[steps]] {name}"
    sources = _strings(where, "sources", settings.pop("sources")) if "sources" in settings else ()
    for source in sources:
        check_one(where, "sources", source, known)
    check_settings(where, STEPS[name], settings)
    key = STEP_PATHS.get(name)
    if key in settings:
        given = settings[key]
        if _is_table(given):
            for of, path in given.items():
                if not isinstance(path, str):
                    raise ValueError(f"{where}: {key}.{of} is {path!r}; it must be a string")
            settings[key] = {of: _located(path, folder) for of, path in given.items()}
        else:
            settings[key] = _matching(where, [_located(path, folder) for path in given])
    made(where, STEPS[name], settings)
    return Step(name=name, settings=settings, sources=sources)


def _strings(where: str, key: str, given: Any) -> tuple[str, ...]:
    """A string, or a list of some."""
    every = [given] if isinstance(given, str) else given
    if not isinstance(every, list) or not every or not all(isinstance(s, str) for s in every):
        raise ValueError(f"{where}: {key} is {given!r}; it must be a string or a list of them")
    return tuple(every)


def _matching(where: str, paths: Iterable[str]) -> list[str]:
    """The files of paths and patterns, in the order in which these are given."""
    return list(dict.fromkeys(file for path in paths for file in inputs(where, [path])))


def _located(path: str, folder: str) -> str:
    """A path with its variables filled in, relative to a folder.

    Raises:
      ValueError: a variable is not set.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if not (found := _variable(name)):
            raise ValueError(f"{path}: ${name} is not set; set it, or write the path out")
        return found

    path = _VARIABLE.sub(value, path)
    path = path if is_remote(path) else os.path.join(folder, path)
    scheme, mark, rest = path.rpartition("://")  # whose slashes normpath would take for one
    return scheme + mark + os.path.normpath(rest)


def _variable(name: str) -> str:
    return os.environ.get(name, "").rstrip("/")
