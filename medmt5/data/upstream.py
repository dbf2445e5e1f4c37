"""Data sets in the files of their authors, to sentences and questions.

Each reader takes the local paths of a split's files, in the order of `sources`, with language
and split, and leaves downloading to `get`.
"""

from __future__ import annotations

import io
import itertools
import re
import tarfile
import unicodedata
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

from medmt5.formats.conll import Sentence, to_iob2
from medmt5.formats.questions import read_questions

_TAG = re.compile(r"O|[BI]-\S+")
_OPTION = re.compile(r"([1-9]) ?(-?) ?(.+)")  # some lost their dash in translation
_ANSWER = re.compile(
    r"(?:CORRECT ANSWER|BONNE RÉPONSE|RÉPONSE CORRECTE|RISPOSTA CORRETTA) ?: ?(\d)\W*"
)
_MARKUP = re.compile(r"</?(?:dis|neg|scp)>")
_WORD = re.compile(r"\w+|[^\w\s]")
DIANN_DEV = 40  # of the 400 training documents: the corpus has no development split


def read_columns(paths: Sequence[str], lang: str, split: str) -> Iterator[Sentence]:
    """Words and tags in columns, separated by tabs or spaces."""
    del lang, split
    for path in paths:
        with open(path, "rb") as file:
            yield from _sentences(file.read(), path)


def read_e3c(paths: Sequence[str], lang: str, split: str) -> Iterator[Sentence]:
    """E3C has no development split: it is the last 15 % of the training sentences.

    The files do not say where documents end, so one may lie in both.
    """
    sentences = list(read_columns(paths, lang, split))
    kept = round(0.85 * len(sentences))
    yield from {"train": sentences[:kept], "dev": sentences[kept:]}.get(split, sentences)


def read_casimedicos(paths: Sequence[str], lang: str, split: str) -> Iterator[Sentence]:
    """One archive of `casimedicos-arg/EN/train.tsv` and so on; columns as in `read_columns`."""
    with tarfile.open(paths[0]) as archive:
        member = archive.extractfile(f"casimedicos-arg/{lang.upper()}/{split}.tsv")
        assert member is not None
        yield from _sentences(member.read(), paths[0])


def read_diann(paths: Sequence[str], lang: str, split: str) -> Iterator[Sentence]:
    """An archive of annotated texts, one sentence per line: `a <dis>hearing loss</dis> of`.

    Negation (`<neg>`, `<scp>`) is left out; the development split is the last training documents.
    """
    del lang
    with zipfile.ZipFile(paths[0]) as archive:
        part = "_Test/Annotated/" if split == "test" else "_Training/Annotated/"
        names = sorted(n for n in archive.namelist() if part in n and n.endswith(".txt"))
        chosen = {"train": names[:-DIANN_DEV], "dev": names[-DIANN_DEV:]}.get(split, names)
        for name in chosen:
            text = archive.read(name).decode("utf-8-sig")
            for line in io.StringIO(text):
                if words := list(_marked(line)):
                    tags = [tag for _, tag in words]
                    yield Sentence(tuple(word for word, _ in words), tuple(to_iob2(tags)[0]))


def _marked(line: str) -> Iterator[tuple[str, str]]:
    """Words of a line, with their tags; a word that markup cuts belongs to the disability."""
    text, spans, at, begun = "", [], 0, 0
    for markup in _MARKUP.finditer(line):
        text += line[at : markup.start()]
        at = markup.end()
        if markup[0] == "<dis>":
            begun = len(text)
        elif markup[0] == "</dis>":
            spans.append((begun, len(text)))
    before = None
    for word in _WORD.finditer(text + line[at:]):
        inside = [span for span in spans if span[0] < word.end() and word.start() < span[1]]
        span = inside[0] if inside else None
        yield word[0], "O" if span is None else "I-dis" if span == before else "B-dis"
        before = span


def _sentences(data: bytes, path: str) -> Iterator[Sentence]:
    """Sentences of columns: the first is the word, the first that looks like one is the tag.

    Repaired is what the files are known for: `à` cut between its bytes (the second, 0xA0, was taken
    for a space), lines whose word is missing, and letters in decomposed form.
    """
    try:
        text = data.replace(b"\xc3 ", "à ".encode()).decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}:{line}: invalid UTF-8; get the file again") from error
    words: list[str] = []
    tags: list[str] = []
    for number, line in enumerate([*text.split("\n"), ""], 1):
        columns = re.split("[ \t]+", unicodedata.normalize("NFC", line).strip(" \t\r"))
        if columns == [""]:
            if words:
                yield Sentence(tuple(words), tuple(to_iob2(tags)[0]))
            words, tags = [], []
            continue
        if len(columns) == 1 and _TAG.fullmatch(columns[0]):
            continue
        tag = next((column for column in columns[1:] if _TAG.fullmatch(column)), None)
        if tag is None:
            raise ValueError(f"{path}:{number}: {line[:60]!r} has no tag; get the file again")
        words.append(columns[0])
        tags.append(tag)


def questions(paths: Sequence[str], lang: str, split: str) -> Iterator[dict[str, Any]]:
    """Questions in the keys of their authors; those with an image are left out."""
    del split
    for path in paths:
        yield from read_questions(path, lang=lang)


def pubmedqa(paths: Sequence[str], lang: str, split: str) -> Iterator[dict[str, Any]]:
    """All questions and, in a second file, the answers of those that are the test split."""
    with open(paths[1], encoding="utf-8") as file:
        tested = set(re.findall(r'"(\d+)"\s*:', file.read()))
    for record in questions(paths[:1], lang, split):
        if (record["id"] in tested) == (split == "test"):
            yield record


def casimedicos(paths: Sequence[str], lang: str, split: str) -> Iterator[dict[str, Any]]:
    """Questions out of the sentences of `read_casimedicos`, with the doctor's explanation.

    A document is `QUESTION TYPE: ...`, `CLINICAL CASE:`, the case and question, `1- ...` and so on,
    the right answer's number after words of the language, and the explanation.
    """
    document: list[str] = []
    number = 0
    ends = Sentence(("QUESTION", "TYPE:"), ())
    for sentence in itertools.chain(read_casimedicos(paths, lang, split), [ends]):
        if sentence.words[:2] == ends.words:
            if document:
                yield _exam_question(document, f"casimedicos-{split}-{number}", lang)
                number += 1
            document = []
        document.append(" ".join(sentence.words))


def _exam_question(document: Sequence[str], id: str, lang: str) -> dict[str, Any]:
    case, options, rationale, right = [], [], [], ""
    for line in document[1:]:
        option, answer = _OPTION.fullmatch(line), _ANSWER.fullmatch(line)
        if right:
            rationale.append(line)
        elif answer:
            right = answer[1]
        elif option and int(option[1]) == len(options) + 1 and (option[2] or options):
            options.append(option[3])
        elif options:  # an option of two sentences
            options[-1] += f" {line}"
        else:
            case.append(line.removeprefix("CLINICAL CASE:").strip())
    if options and options[-1].casefold() == "nan":  # the fifth option of a question with four
        options.pop()
    letters = [chr(ord("A") + i) for i in range(len(options))]
    if not right or int(right) > len(options):
        raise ValueError(f"{id} ({lang}): no right answer among {len(options)} options")
    return {
        "id": id,
        "question": " ".join(filter(None, case)),
        "context": "",
        "letters": letters,
        "options": options,
        "answers": [letters[int(right) - 1]],
        "rationale": " ".join(rationale),
        "lang": lang,
    }
