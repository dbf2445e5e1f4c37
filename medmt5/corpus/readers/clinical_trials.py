"""ClinicalTrials.gov: studies as JSON of API v2, or as the XML that it gave until 2024.

JSON: one study, a list of them, a page of the API (`{"studies": [...]}`), or one after the other,
a line each or not; also in a zip. XML: `clinical_study`, as in AllPublicXML.zip.

A document is titles, summary, description, conditions, arms, interventions, outcomes and
eligibility. Results, contacts and locations are left out.
"""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from medmt5.corpus.documents import Bad, Document, Reason
from medmt5.corpus.opening import Place
from medmt5.corpus.readers import elements
from medmt5.corpus.readers.base import Reader
from medmt5.corpus.readers.elements import Element, findall, paragraphs_at, text_at
from medmt5.corpus.readers.json_stream import objects

# The registry's markup puts a backslash before what Markdown would take for its own.
_ESCAPE = re.compile(r"\\([<>*_~\[\]#+.-])")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClinicalTrials(Reader):
    """Ids are NCT numbers."""

    language: str = "en"
    members: tuple[str, ...] = ("*.json", "*.jsonl", "*.xml")

    def read(self, place: Place, stream: io.BufferedReader) -> Iterator[Document | Bad]:
        if stream.peek(64).lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<"):
            for study in elements.records(
                stream, "clinical_study", max_bytes=self.max_document_bytes
            ):
                yield self._from_xml(study)
            return
        for number, study in enumerate(objects(stream, "studies", self.max_document_bytes), 1):
            try:
                yield self._from_json(study)
            except (TypeError, KeyError, AttributeError) as error:
                detail = f"not a study of API v2: {type(error).__name__}: {error}"
                yield Bad(f"{place}:{number}", Reason.WRONG_FIELDS, detail)

    def _study(self, id: str, titles: Iterable[str], blocks: Iterable[str]) -> Document:
        names = [title for title in titles if title]
        lines = [block for block in blocks if block.strip()]
        return self.document(
            "\n".join([*dict.fromkeys(names), *lines]),
            id,
            url=f"https://clinicaltrials.gov/study/{id}",
            title=names[0] if names else "",
        )

    def _from_json(self, study: Mapping[str, Any]) -> Document:
        protocol = study["protocolSection"]
        identity = protocol["identificationModule"]
        described = protocol.get("descriptionModule", {})
        arms = protocol.get("armsInterventionsModule", {})
        outcomes = protocol.get("outcomesModule", {})
        blocks = _markup(described.get("briefSummary"), described.get("detailedDescription"))
        blocks.append(", ".join(protocol.get("conditionsModule", {}).get("conditions", [])))
        blocks += _named(arms.get("armGroups", []), "label")
        blocks += _named(arms.get("interventions", []), "name")
        for kind in ("primaryOutcomes", "secondaryOutcomes", "otherOutcomes"):
            blocks += _named(outcomes.get(kind, []), "measure")
        blocks += _markup(protocol.get("eligibilityModule", {}).get("eligibilityCriteria"))
        titles = identity.get("briefTitle", ""), identity.get("officialTitle", "")
        return self._study(identity["nctId"], titles, blocks)

    def _from_xml(self, study: Element) -> Document:
        blocks = paragraphs_at(study, "brief_summary/textblock")
        blocks += paragraphs_at(study, "detailed_description/textblock")
        blocks.append(", ".join(map(elements.text_of, findall(study, "condition"))))
        for kind, name in (
            ("arm_group", "arm_group_label"),
            ("intervention", "intervention_name"),
            ("primary_outcome", "measure"),
            ("secondary_outcome", "measure"),
            ("other_outcome", "measure"),
        ):
            for element in findall(study, kind):
                blocks.append(_pair(text_at(element, name), text_at(element, "description")))
        blocks += paragraphs_at(study, "eligibility/criteria/textblock")
        titles = text_at(study, "brief_title"), text_at(study, "official_title")
        return self._study(text_at(study, "id_info/nct_id"), titles, blocks)


def _markup(*texts: str | None) -> list[str]:
    lines = [line for text in texts for line in (text or "").splitlines()]
    return [_ESCAPE.sub(r"\1", line).strip() for line in lines]


def _named(records: Iterable[Mapping[str, str]], key: str) -> list[str]:
    pairs = [_pair(record.get(key, ""), record.get("description", "")) for record in records]
    return [" ".join(line.split()) for line in _markup(*(p.replace("\n", " ") for p in pairs))]


def _pair(name: str, description: str) -> str:
    return ": ".join(filter(None, (name, description)))
