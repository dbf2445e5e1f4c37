"""spaCy's DocBin (`.spacy`), as `spacy train` reads it; needs spaCy, `pip install medmt5[spacy]`.

Entities are `doc.ents`; tokens are the words that were labelled, cut at entity edges. White space
other than one space after a token is a token of its own, so that `doc.text` is the text.
Scores and the id are in `doc.user_data`. Span groups are counted when reading. A DocBin is one
object: it is in memory as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from medmt5.formats.documents import Document, check, plain_words
from medmt5.formats.gold import Annotation, Report, flat


def _spacy() -> Any:
    try:
        # An extra, which pyright's environment need not have.
        import spacy.tokens  # pyright: ignore[reportMissingImports]
        import spacy.vocab  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ValueError(
            f"the docbin format needs spaCy ({error}); pip install 'medmt5[spacy]'"
        ) from error
    return spacy


def to_doc(document: Document, vocab: Any) -> Any:
    """A `spacy.tokens.Doc` whose text is the document's."""
    check(document)
    spacy, text = _spacy(), document.text
    starts = {e.start for e in document.entities}
    ends = {e.end for e in document.entities}
    inner = {i for word in plain_words(document) for i in word}
    edges = sorted({0, len(text)} | starts | ends | inner)
    words: list[str] = []
    spaces: list[bool] = []
    first, last = {}, {}  # character offset -> token that begins, ends there
    for start, end in zip(edges, edges[1:], strict=False):
        lone = text[start:end] == " " and start not in starts and end not in ends
        if lone and words and not spaces[-1]:
            spaces[-1] = True
            continue
        first[start], last[end] = len(words), len(words) + 1
        words.append(text[start:end])
        spaces.append(False)
    doc = spacy.tokens.Doc(vocab, words=words, spaces=spaces)
    doc.set_ents(
        [
            spacy.tokens.Span(doc, first[e.start], last[e.end], label=e.label)
            for e in document.entities
        ]
    )
    doc.user_data["scores"] = [float(entity.score) for entity in document.entities]
    doc.user_data["id"] = document.id
    return doc


def to_docbin(documents: Iterable[Document]) -> bytes:
    """The content of a `.spacy` file."""
    spacy = _spacy()
    vocab = spacy.vocab.Vocab()
    box = spacy.tokens.DocBin(attrs=["ENT_IOB", "ENT_TYPE"], store_user_data=True)
    for document in documents:
        box.add(to_doc(document, vocab))
    return box.to_bytes()


def read_docbin(path: str, report: Report) -> Iterator[Document]:
    """Documents of a `.spacy` file; their words are its tokens."""
    spacy = _spacy()
    try:
        box = spacy.tokens.DocBin().from_disk(path)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # zlib's and msgpack's, of many kinds
        raise ValueError(f"{path} is not a DocBin ({error})") from error
    for number, doc in enumerate(box.get_docs(spacy.vocab.Vocab()), 1):
        scores = doc.user_data.get("scores", ())
        if len(scores) != len(doc.ents):
            scores = [1.0] * len(doc.ents)
        annotations = [
            Annotation(
                span.label_,
                ((span.start_char, span.end_char),),
                None,
                f"{path} (document {number})",
                score,
            )
            for span, score in zip(doc.ents, scores, strict=True)
        ]
        for group, spans in doc.spans.items():
            report.other[f"spans of group {group!r}"] += len(spans)
        words = [(t.idx, t.idx + len(t)) for t in doc if not t.is_space]
        id = str(doc.user_data.get("id") or "")
        yield flat(doc.text, annotations, report, id=id, words=words)
