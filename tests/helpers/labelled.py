"""Labelled documents for tests: by hand, and drawn at random from what trips readers."""

from hypothesis import strategies as st

from medmt5.formats import exchange
from medmt5.formats.documents import BREAK, Document, Entity
from medmt5.formats.gold import Report


def labelled(text, *spans, **more):
    """A document with the given (start, end, label) spans, score 0.5."""
    entities = tuple(Entity(s, e, label, text[s:e], 0.5) for s, e, label in spans)
    return Document(text, entities, **more)


# What trips readers: markup, every line end, bidirectional marks, emoji, combining characters.
TRICKY = st.sampled_from(
    "<>&;#/|\"'\n\r\t\v\f\x00\x1c\x1d\x1e\x85\u2028\u2029\u200f\u0301\ufeff\xa0 e😀👩\u200d_xA0"
)
TEXTS = st.lists(TRICKY | st.characters(exclude_categories=["Cs"]), max_size=30).map("".join)
LABELS = TEXTS.filter(lambda label: label and not BREAK.search(label))


@st.composite
def documents(draw, texts=TEXTS, labels=LABELS):
    text = draw(texts)
    cuts = draw(st.lists(st.integers(0, len(text)), max_size=8, unique=True).map(sorted))
    # Consecutive cuts bound stretches; those drawn are entities, so neighbours may touch.
    spans = [span for span in zip(cuts, cuts[1:], strict=False) if draw(st.booleans())]
    return labelled(text, *((start, end, draw(labels)) for start, end in spans))


def unscored(document):
    return document.text, [entity[:4] for entity in document.entities]


def round_trip(documents, format, path):
    """Write documents, read them again; nothing may be reported as lost."""
    exchange.write_documents(documents, format, path)
    read, report = exchange.read_documents(format, str(path))
    assert not report.lost and not report.skipped and not +report.other, report.summary()
    assert report.documents == len(read)
    assert report.entities == sum(len(document.entities) for document in read)
    return read


def gold(format, path, **options):
    """Documents and report of a file."""
    report = Report(**options)
    return list(exchange.reader(format)(str(path), report)), report
