"""XMP: a claim beside what the source's own packet says (ISO 16684-1; IPTC Photo Metadata Standard).

A source's packet is somebody else's XML. It is kept as it is but for the few properties that the claim is about; what
cannot be kept (too large, too deep, not XML, with a document type) is left out with a note, and costs no image.
"""

import math
import re
from typing import Any
from xml.dom import minidom
from xml.parsers import expat
from xml.sax.saxutils import escape

from loco.marks.claim import SOURCE_TYPE, Claim

MOST = 1 << 20
"""Bytes of a source's packet that are read."""

DEEPEST = 64
"""Elements inside each other in a packet that is kept."""

ELEMENTS = 20_000
"""Elements and attributes of a packet that is kept."""

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
XMP = "http://ns.adobe.com/xap/1.0/"
LOCO = "urn:loco-edit:1#"

_HEX = re.compile(r"[0-9a-f]{32,64}")
_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


class _Unkept(ValueError):
    """A packet that cannot be kept; says why."""


def with_claim(claim: Claim, packet: bytes | None, limit: int = MOST) -> tuple[bytes, tuple[str, ...]]:
    """The packet of an edited image, UTF-8, of at most about `limit` bytes, and notes on what could not be kept."""
    if packet is None:
        return _wrapped(_fresh(claim)), ()
    try:
        document = _parsed(packet)
        merged = _wrapped(_merged(document, claim))
    except _Unkept as error:
        return _wrapped(_fresh(claim)), (f"the source's XMP was left out: {error}",)
    if len(merged) > limit:
        return _wrapped(_fresh(claim)), (
            f"the source's XMP was left out: {len(packet)} bytes, more than fit here",
        )
    return merged, ()


def kept(packet: bytes | None, limit: int = MOST) -> tuple[bytes | None, tuple[str, ...]]:
    """A source's packet as a copy keeps it, in UTF-8, and a note where it cannot."""
    if packet is None:
        return None, ()
    try:
        _parsed(packet)
        whole = _decoded(packet).strip("\x00").encode()
    except _Unkept as error:
        return None, (f"the source's XMP was left out: {error}",)
    if len(whole) > limit:
        return None, (f"the source's XMP was left out: {len(packet)} bytes, more than fit here",)
    return whole, ()


def claim_of(packet: bytes | None) -> Claim | None:
    """The claim in a packet, None where there is none; raises `ValueError` for one that is malformed."""
    if packet is None:
        return None
    try:
        document = _parsed(packet)
    except _Unkept:
        return None
    found: dict[str, list[str]] = {}
    for name in _NAMES:
        for node in document.getElementsByTagNameNS(LOCO, name):
            items = node.getElementsByTagNameNS(RDF, "li")
            found.setdefault(name, []).extend(map(_text, items or [node]))
    if not found:
        return None
    said = {name: found.get(name, []) for name in _NAMES}
    many = [
        name for name, values in said.items() if name not in ("Directions", "Strengths") and len(values) > 1
    ]
    if many:
        raise ValueError(f"its claim says {many[0]} more than once")
    one = {name: values[0] if values else "" for name, values in said.items()}
    ids = [one["Edit"], one["Model"], one["Source"], *said["Directions"]]
    if not all(_HEX.fullmatch(value) for value in ids):
        raise ValueError("its claim names what is no id")
    try:
        strengths = tuple(float(value) for value in said["Strengths"])
    except ValueError as error:
        raise ValueError("its claim gives a strength that is no number") from error
    if len(strengths) != len(said["Directions"]) or not all(math.isfinite(value) for value in strengths):
        raise ValueError("its claim does not give one strength a direction")
    return Claim(
        edit_id=one["Edit"],
        model=one["Model"],
        source=one["Source"],
        directions=tuple(said["Directions"]),
        strengths=strengths,
        software=one["Software"],
        before=one["Before"],
        run=one["Run"],
        name=one["Name"],
        prompt=one["Prompt"],
    )


_NAMES = ("Edit", "Model", "Source", "Directions", "Strengths", "Software", "Before", "Run", "Name", "Prompt")


def _description(claim: Claim, about: str) -> str:
    """The claim as one rdf:Description."""

    def ordered(name: str, values: list[str]) -> str:
        items = "".join(f"<rdf:li>{escape(value)}</rdf:li>" for value in values)
        return f"<loco:{name}><rdf:Seq>{items}</rdf:Seq></loco:{name}>"

    simple = {
        "Edit": claim.edit_id,
        "Model": claim.model,
        "Source": claim.source,
        "Software": claim.software,
        "Before": claim.before,
        "Run": claim.run,
        "Name": claim.name,
        "Prompt": claim.prompt,
    }
    own = "".join(
        f"<loco:{name}>{escape(_plain(value))}</loco:{name}>" for name, value in simple.items() if value
    )
    return (
        f'<rdf:Description xmlns:rdf="{RDF}" xmlns:Iptc4xmpExt="{IPTC}" xmlns:loco="{LOCO}" '
        f'rdf:about="{escape(_plain(about), {chr(34): "&quot;"})}">'
        f"<Iptc4xmpExt:DigitalSourceType>{SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>"
        f"{own}{ordered('Directions', list(claim.directions))}"
        f"{ordered('Strengths', [f'{value:.9g}' for value in claim.strengths])}</rdf:Description>"
    )


def _plain(text: str) -> str:
    """The text without what XML cannot hold."""
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)


def _fresh(claim: Claim) -> str:
    tool = (
        f'<rdf:Description xmlns:xmp="{XMP}" rdf:about="">'
        f"<xmp:CreatorTool>{escape(claim.software)}</xmp:CreatorTool></rdf:Description>"
    )
    body = f'<rdf:RDF xmlns:rdf="{RDF}">{_description(claim, "")}{tool}</rdf:RDF>'
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/">{body}</x:xmpmeta>'


def _wrapped(body: str) -> bytes:
    return (f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>{body}<?xpacket end="w"?>').encode()


def _merged(document: Any, claim: Claim) -> str:
    """The source's packet with the claim in place of what it says of the same."""
    [rdf, *_] = document.getElementsByTagNameNS(RDF, "RDF")
    about = ""
    for node in list(document.getElementsByTagName("*")):
        top = node.parentNode is rdf and _is(node, RDF, "Description")
        about = about or (node.getAttributeNS(RDF, "about") if top else "")
        for one in [*node.childNodes, *node.attributes.values()]:
            same = top and (one.namespaceURI, one.localName) == (IPTC, "DigitalSourceType")
            if one.namespaceURI != LOCO and not same:
                continue
            if one.nodeType == one.ATTRIBUTE_NODE:
                node.removeAttributeNode(one)
            else:
                node.removeChild(one)
    own = minidom.parseString(_description(claim, about)).documentElement
    rdf.appendChild(document.importNode(own, True))
    return str(document.documentElement.toxml())


def _is(node: Any, namespace: str, name: str) -> bool:
    return node.nodeType == node.ELEMENT_NODE and (node.namespaceURI, node.localName) == (namespace, name)


def _text(node: Any) -> str:
    return "".join(child.data for child in node.childNodes if child.nodeType == child.TEXT_NODE).strip()


def _parsed(packet: bytes) -> minidom.Document:
    """The packet as a document with an rdf:RDF in it; raises `_Unkept`."""
    if len(packet) > MOST:
        raise _Unkept(f"{len(packet)} bytes, at most {MOST} are read")
    text = _decoded(packet).strip("\x00\ufeff \t\r\n")
    if re.search(r"<!(DOCTYPE|ENTITY)", text, re.IGNORECASE):
        raise _Unkept("it declares a document type")
    text = re.sub(r"^<\?xml\b[^>]*\?>", "", text)
    data = text.encode("utf-8", errors="replace")
    _measured(data)
    try:
        document = minidom.parseString(data)
    except (expat.ExpatError, ValueError) as error:
        raise _Unkept(f"it is not XML ({error})") from error
    if not document.getElementsByTagNameNS(RDF, "RDF"):
        raise _Unkept("it has no rdf:RDF")
    return document


def _measured(data: bytes) -> None:
    """Refuse what is no XML, too deep or too much, before a tree of it is made."""
    parser = expat.ParserCreate()
    depth = count = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth, count
        depth, count = depth + 1, count + 1 + len(attributes)
        if depth > DEEPEST or count > ELEMENTS:
            raise _Unkept("its elements are too many or too deep")

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1

    parser.StartElementHandler, parser.EndElementHandler = start, end
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise _Unkept(f"it is not XML ({error})") from error


def _decoded(packet: bytes) -> str:
    encoding = next((name for mark, name in _BOMS if packet.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\x00" in packet[:2]:
        encoding = "utf-16-be" if packet.startswith(b"\x00") else "utf-16-le"
    try:
        return packet.decode(encoding)
    except UnicodeDecodeError as error:
        raise _Unkept(f"it is not {encoding.upper()}") from error
