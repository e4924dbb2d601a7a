"""One DNS question, from the bytes that came to the bytes that go or to whom it is passed on.  RFC 1035, 2308, 6891.  Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.reversename
import dns.rrset

from hawse.supervisor.core.model import NetworkName
from hawse.supervisor.dns.directory import Directory, Member

TTL = 5
"""Seconds: a container that is made anew often has another address, and programs that remember (nginx) must notice."""
LARGEST_DATAGRAM = 1232  # what fits without fragments everywhere (the DNS flag day's figure)
LARGEST_QUESTION = LARGEST_DATAGRAM
"""Bytes.  A longer one has something in it that nobody asks in earnest, and to read that takes too long."""
MOST_RECORDS = 4  # beside the question; a resolver sends one or two (EDNS, a signature)

_HEADER = struct.Struct("!6H")


@dataclass(frozen=True, slots=True)
class Forward:
    """A question that is somebody else's to answer.  `servers` are the asker's own, empty for the host's."""

    servers: tuple[str, ...]
    failed: bytes  # what is answered when nobody does


def respond(
    directory: Directory,
    network: NetworkName,
    source: IPv4Address,
    wire: bytes,
    *,
    turn: int = 0,
    datagram: bool = True,
) -> bytes | Forward | None:
    """The answer; None for what deserves none.  `turn` says whose turn it is among several with one name."""
    if len(wire) < _HEADER.size or wire[2] & 0x80:  # an answer
        return None
    _, _, questions, *records = _HEADER.unpack_from(wire)
    # RFC 9619: one question.  To read thousands of anything would take the daemon's time from others.
    if questions != 1 or sum(records) > MOST_RECORDS or len(wire) > LARGEST_QUESTION:
        return _malformed(wire)
    try:
        query = dns.message.from_wire(wire)
    except (dns.exception.DNSException, ValueError, struct.error):
        return _malformed(wire)
    answer = dns.message.make_response(query, recursion_available=True)
    asker = directory.asker(network, source)
    if query.opcode() != dns.opcode.QUERY:
        answer.set_rcode(dns.rcode.NOTIMP)
    elif asker is None:  # another network's container, or a machine outside: no names are told
        answer.set_rcode(dns.rcode.REFUSED)
    elif not _answered(directory, asker, query.question[0], answer, turn):
        if directory.may_leave(asker):
            answer.set_rcode(dns.rcode.SERVFAIL)
            return Forward(asker.dns, answer.to_wire())
        answer.set_rcode(dns.rcode.REFUSED)
    return _encoded(answer, min(max(query.payload, 512), LARGEST_DATAGRAM) if datagram else 65_535)


def _answered(
    directory: Directory, asker: Member, question: dns.rrset.RRset, answer: dns.message.Message, turn: int
) -> bool:
    """Tell whether the question was about a name or an address of ours; then the answer is complete."""
    if question.rdclass != dns.rdataclass.IN:
        return False
    if question.rdtype == dns.rdatatype.PTR and (address := _address(question.name)):
        if (name := directory.name_of(asker, address)) and _is_tellable(name):
            _add(answer, question.name, dns.rdatatype.PTR, [f"{name}."])
        elif directory.is_ours(address):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        else:
            return False
        return True
    found = directory.find(asker, question.name.to_text(omit_final_dot=True).lower())
    if not found:
        return False
    if question.rdtype in (dns.rdatatype.A, dns.rdatatype.ANY):
        first = turn % len(found)
        _add(answer, question.name, dns.rdatatype.A, [str(a) for a in found[first:] + found[:first]])
    return True


def _add(answer: dns.message.Message, name: dns.name.Name, kind: dns.rdatatype.RdataType, texts: list[str]) -> None:
    answer.answer.append(dns.rrset.from_text_list(name, TTL, dns.rdataclass.IN, kind, texts))
    answer.flags |= dns.flags.AA


def _address(name: dns.name.Name) -> IPv4Address | None:
    try:
        return IPv4Address(dns.reversename.to_address(name))
    except (dns.exception.DNSException, ValueError):
        return None


def _is_tellable(name: str) -> bool:
    """A container may be called what DNS has no room for: a label has at most 63 bytes (RFC 1035), and at least one."""
    try:
        dns.name.from_text(name)
    except dns.exception.DNSException:
        return False
    return True


def _encoded(answer: dns.message.Message, limit: int) -> bytes:
    try:
        return answer.to_wire(max_size=limit, want_shuffle=False)  # whose turn it is has been decided
    except dns.exception.TooBig:
        answer.flags |= dns.flags.TC  # asked again by TCP
        answer.answer.clear()
        return answer.to_wire(max_size=limit)


def _malformed(wire: bytes) -> bytes:
    """FORMERR with the question's id."""
    return wire[:2] + struct.pack("!HHHHH", 0x8000 | dns.rcode.FORMERR, 0, 0, 0, 0)
