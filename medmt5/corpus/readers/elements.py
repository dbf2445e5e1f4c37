"""Records of an XML file one at a time, whatever its namespace, and the text of elements.

Entities that a file declares are never expanded and nothing it points to is fetched.
"""

from __future__ import annotations

import functools
import html
import io
from collections.abc import Collection, Iterator
from typing import Any

from medmt5.corpus.decompression import CHUNK, Unreadable, library
from medmt5.corpus.documents import Reason
from medmt5.corpus.readers.base import too_long

Element = Any  # lxml has no types


def records(stream: io.BufferedReader, *names: str, max_bytes: int) -> Iterator[Element]:
    """Elements with these names, each valid until the next one is asked for.

    Raises:
      Unreadable: broken XML, a wrong encoding, a record longer than max_bytes, declared entities,
        or no record at all; records before that were given.
    """
    etree = library("lxml.etree")
    # huge_tree stays off: libxml2's limits on depth, names and entities hold.
    parser = etree.XMLPullParser(
        events=("end",),
        tag=[f"{{*}}{name}" for name in names],
        resolve_entities=False,
        no_network=True,
        remove_comments=True,
        remove_pis=True,
    )
    found, since = False, 0
    while True:
        chunk = stream.read1(CHUNK)
        failure = None
        try:
            parser.feed(chunk) if chunk else parser.close()
        except etree.XMLSyntaxError as error:
            failure = error
        for _, element in parser.read_events():
            if not found:
                _check_declarations(element)
            found, since = True, 0
            yield element
            _free(element)
        if failure is not None:
            raise Unreadable(_reason(failure), str(failure)) from failure
        since += len(chunk)
        if since > max_bytes:
            raise Unreadable(Reason.TOO_LONG, too_long(max_bytes) + "; the rest is not read")
        if not chunk:
            break
    if not found:
        raise Unreadable(Reason.NO_RECORDS, f"no <{'>, <'.join(names)}>")


def _reason(error: Any) -> Reason:
    codes = library("lxml.etree").ErrorTypes
    if error.code in (codes.ERR_INVALID_ENCODING, codes.ERR_UNSUPPORTED_ENCODING):
        return Reason.WRONG_ENCODING
    if error.code == codes.ERR_ENTITY_IS_EXTERNAL or "entity amplification" in str(error):
        return Reason.ENTITIES
    return Reason.BROKEN_XML


def _check_declarations(element: Element) -> None:
    declarations = element.getroottree().docinfo.internalDTD
    if declarations is not None and any(True for _ in declarations.iterentities()):
        raise Unreadable(Reason.ENTITIES, "no public source needs them")


def _free(element: Element) -> None:
    """Forget a record and all that stands before it."""
    element.clear()
    parent = element.getparent()
    while parent is not None:
        while parent[0] is not element:
            del parent[0]
        element, parent = parent, parent.getparent()


def find(element: Element, path: str) -> Element | None:
    """The first element at a path of names, in any namespace."""
    return element.find(_anywhere(path))


def findall(element: Element, path: str) -> list[Element]:
    return element.findall(_anywhere(path))


@functools.cache
def _anywhere(path: str) -> str:
    return "/".join(name if name.startswith(".") else f"{{*}}{name}" for name in path.split("/"))


def local_name(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def text_at(element: Element, path: str) -> str:
    """The text at a path on one line; "" if nothing is there."""
    there = find(element, path)
    return "" if there is None else text_of(there)


def text_of(element: Element, *, leave_out: Collection[str] = ()) -> str:
    """The text of an element on one line, without that of elements of some names."""
    return " ".join("".join(_pieces(element, leave_out)).split())


def paragraphs_at(element: Element, path: str) -> list[str]:
    """Text that is laid out in lines: its paragraphs, which blank lines part."""
    there = find(element, path)
    blocks = "" if there is None else "".join(_pieces(there, ()))
    return paragraphs(blocks)


def paragraphs(text: str) -> list[str]:
    """Blocks between blank lines, each on one line."""
    lines = ["\n" if not line.strip() else line for line in text.splitlines()]
    blocks = " ".join(lines).split("\n")
    return [" ".join(block.split()) for block in blocks if block.strip()]


def _pieces(element: Element, leave_out: Collection[str]) -> Iterator[str]:
    if element.text:
        yield element.text
    for child in element:
        if not isinstance(child.tag, str):
            yield html.unescape(child.text)  # an entity of a DTD elsewhere, such as &nbsp;
        elif local_name(child) not in leave_out:
            yield from _pieces(child, leave_out)
        if child.tail:
            yield child.tail
