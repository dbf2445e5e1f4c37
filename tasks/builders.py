"""TFDS builders of the data sets that have a stable public source, from `medmt5.data.sources`.

`MedicalLabelling` and `MedicalQuestions`, with a config per set and language: `ncbi_disease_en`,
`frenchmedmcqa_fr`, ... Import this module, then

    tfds.load("medical_labelling/e3c_it", download=True, data_dir=...)

The manual directory, if there is one, holds clones of the repositories named as they are, or the
files that `medmt5 data get` writes; then nothing is downloaded. Our tasks need no TFDS: they read
those files themselves.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow_datasets as tfds

from medmt5.data import get
from medmt5.data.sources import SETS, Set
from medmt5.formats.conll import read_conll
from medmt5.formats.questions import read_questions

Text = tfds.features.Text
Texts = tfds.features.Sequence


@dataclasses.dataclass
class Config(tfds.core.BuilderConfig):
    """A data set in one language."""

    data: str = ""
    lang: str = ""


def _configs(kind: str) -> list[Config]:
    return [
        Config(name=f"{name}_{lang}", description=source.about, data=name, lang=lang)
        for name, source in SETS.items()
        if source.kind == kind
        for lang in source.files
    ]


class _Medical(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """What both builders share: where files come from, and what TFDS tells about a set."""

    VERSION = tfds.core.Version("1.0.0")
    # TFDS looks beside its code for checksums, with importlib_resources, which it does not install;
    # the commits in the URLs say which bytes are meant.
    code_path = None
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Clone the config's repository into the manual directory, or run `medmt5 data get` into it."
    )
    FEATURES: dict[str, Any] = {}

    @property
    def _source(self) -> Set:
        return SETS[self.builder_config.data]

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self._source.about,
            features=tfds.features.FeaturesDict(self.FEATURES),
            homepage=self._source.url(),
            citation=self._source.citation,
            license=self._source.licence,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        source, lang = self._source, self.builder_config.lang
        try:
            manual_dir = str(dl_manager.manual_dir)
        except AssertionError:  # there is none, or nothing in it
            manual_dir = None
        generators = {}
        for split, paths in source.files[lang].items():
            name = "validation" if split == "dev" else split
            prepared = _prepared(source, lang, split, manual_dir)
            if prepared:
                generators[name] = self._generate_examples([prepared], split, upstream=False)
                continue
            if manual_dir:
                local = [get.find(source, path, manual_dir) for path in paths]
            else:
                local = dl_manager.download([source.url(path) for path in paths])
            generators[name] = self._generate_examples(list(map(str, local)), split)
        return generators

    def _generate_examples(
        self, paths: Sequence[str], split: str, *, upstream: bool = True
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        read = self._source.read if upstream else self._read_prepared
        for number, item in enumerate(read(paths, self.builder_config.lang, split)):
            fields = item if isinstance(item, dict) else item._asdict()
            yield number, {name: fields[name] for name in self.FEATURES}

    def _read_prepared(self, paths: Sequence[str], lang: str, split: str) -> Iterator[Any]:
        raise NotImplementedError


def _prepared(source: Set, lang: str, split: str, manual_dir: str | None) -> str | None:
    """The file that tasks read, if it is in the manual directory or in its folder there."""
    name = source.name(lang, split)
    places = [name, os.path.join(source.folder(), lang, name)] if manual_dir else []
    found = [os.path.join(manual_dir or "", place) for place in places]
    return next(filter(os.path.isfile, found), None)


class MedicalLabelling(_Medical):
    """Sentences: words and their IOB2 tags."""

    BUILDER_CONFIGS = _configs("labelling")
    FEATURES = {"words": Texts(Text()), "tags": Texts(Text())}

    def _read_prepared(self, paths: Sequence[str], lang: str, split: str) -> Iterator[Any]:
        return read_conll(paths[0])


class MedicalQuestions(_Medical):
    """Questions with options A, B, ..., and the letters of the right ones."""

    BUILDER_CONFIGS = _configs("questions")
    FEATURES = {
        "id": Text(),
        "question": Text(),
        "context": Text(),
        "letters": Texts(Text()),
        "options": Texts(Text()),
        "answers": Texts(Text()),
        "rationale": Text(),
        "lang": Text(),
    }

    def _read_prepared(self, paths: Sequence[str], lang: str, split: str) -> Iterator[Any]:
        return read_questions(paths[0], lang=lang)
