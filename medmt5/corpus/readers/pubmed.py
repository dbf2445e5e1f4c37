"""PubMed and Medline XML: titles and abstracts, with translated abstracts as further documents.

Written for the DTDs pubmed_190101 to pubmed_250101 (`PubmedArticleSet`: baseline and update files,
E-utilities) and older MedlineCitationSet files, which have the same `MedlineCitation`.

The main abstract of a record is English, by NLM's rules, whatever the article's language is;
`OtherAbstract` holds those that the publisher gave in others. An article without abstract gives its
title. The notice on copyright of an abstract is the licence.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator

from medmt5.corpus.documents import Document
from medmt5.corpus.opening import Place
from medmt5.corpus.readers.base import Reader
from medmt5.corpus.readers.elements import Element, find, findall, records, text_at, text_of
from medmt5.corpus.readers.languages import iso_639_1

_URL = "https://pubmed.ncbi.nlm.nih.gov/"
_NOT_TEXT = {"math", "tex-math"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PubMed(Reader):
    """Ids are PMIDs, and `PMID-es` for an abstract in another language."""

    members: tuple[str, ...] = ("*.xml", "*.xml.gz")

    def read(self, place: Place, stream: io.BufferedReader) -> Iterator[Document]:
        del place
        names = "MedlineCitation", "BookDocument"
        for record in records(stream, *names, max_bytes=self.max_document_bytes):
            yield from self._documents(record)

    def _documents(self, record: Element) -> Iterator[Document]:
        article = find(record, "Article")
        article = record if article is None else article
        pmid = text_at(record, "PMID")
        title = _title(text_at(article, "ArticleTitle") or text_at(article, "Book/BookTitle"))
        abstract = find(article, "Abstract")
        if title or abstract is not None:
            yield self._document(pmid, "en", title, abstract)
        original = _title(text_at(article, "VernacularTitle"))
        written_in = [text_of(language) for language in findall(article, "Language")]
        for other in findall(record, "OtherAbstract"):
            code = other.get("Language", "")
            same = iso_639_1(code) in [iso_639_1(name) for name in written_in]
            language = iso_639_1(code) or code or "other"
            id = f"{pmid}-{language}"
            yield self._document(id, code, original if same else "", other, pmid=pmid)

    def _document(
        self, id: str, language: str, title: str, abstract: Element | None, pmid: str = ""
    ) -> Document:
        paragraphs = [title] if title else []
        licence = ""
        if abstract is not None:
            paragraphs += filter(None, map(_section, findall(abstract, "AbstractText")))
            licence = text_at(abstract, "CopyrightInformation")
        return self.document(
            "\n".join(paragraphs),
            id,
            language=language,
            url=f"{_URL}{pmid or id}/",
            licence=licence,
            title=title,
        )


def _title(title: str) -> str:
    # NLM's brackets mean: translated, by NLM or the publisher.
    if title.startswith("[") and title.rstrip(".").endswith("]"):
        title = title.rstrip(".")[1:-1]
    return "" if title.rstrip(".") == "Not Available" else title


def _section(element: Element) -> str:
    text = text_of(element, leave_out=_NOT_TEXT)
    label = element.get("Label", "")
    return f"{label}: {text}" if text and label and label != "UNLABELLED" else text
