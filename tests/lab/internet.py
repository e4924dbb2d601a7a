"""What the lab's internet has to offer: a name server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from hawse.cli.selftest.lab import INTERNET, Lab


@contextmanager
def internet_names(lab: Lab) -> Iterator[list[str]]:
    """A name server on the internet's machine that the host uses: it knows example.org and says what it was asked."""
    asked: list[str] = []
    host_file = lab.share / "resolv.conf"
    sockets = [lab.internet.open_socket(kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)]
    udp, tcp = sockets
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    for sock in sockets:
        sock.bind((INTERNET, 53))
    tcp.listen()

    def answer(wire: bytes, *, whole: bool) -> bytes:
        query = dns.message.from_wire(wire)
        name = query.question[0].name
        asked.append(name.to_text(omit_final_dot=True))
        reply = dns.message.make_response(query, recursion_available=True)  # without that glibc takes it for a referral
        if asked[-1] == "big.example.org" and not whole:
            reply.flags |= dns.flags.TC
        elif asked[-1].endswith("example.org"):
            if query.question[0].rdtype != dns.rdatatype.A:
                return reply.to_wire()
            reply.answer.append(dns.rrset.from_text(name, 60, "IN", "A", "203.0.113.7"))
        else:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        return reply.to_wire()

    def serve_datagrams() -> None:
        while (received := udp.recvfrom(4096))[0] != b"end":
            udp.sendto(answer(received[0], whole=False), received[1])

    def serve_streams() -> None:
        while True:
            client, _ = tcp.accept()
            with client, client.makefile("rb") as stream:
                if not (size := stream.read(2)):
                    return
                wire = answer(stream.read(int.from_bytes(size, "big")), whole=True)
                client.sendall(len(wire).to_bytes(2, "big") + wire)

    threads = [threading.Thread(target=serve) for serve in (serve_datagrams, serve_streams)]
    host_file.write_text(f"nameserver {INTERNET}\n")
    for thread in threads:
        thread.start()
    try:
        lab.run(["mount", "--bind", host_file, "/etc/resolv.conf"])  # seen in the lab only
        yield asked
    finally:
        lab.run(["umount", "--lazy", "/etc/resolv.conf"], check=False)  # the daemon may just be reading it
        host_file.unlink()
        with lab.internet.open_socket(socket.SOCK_DGRAM) as last:
            last.sendto(b"end", (INTERNET, 53))
        lab.internet.connect(INTERNET, 53).close()
        for thread in threads:
            thread.join(30)
        for sock in sockets:
            sock.close()
