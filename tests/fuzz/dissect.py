#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Reads the corpus with an independent dissector, tshark, and compares what it sees with what the parser saw: IP
version, addresses, transport protocol, destination port, fragment, and whether the frame is malformed. A class of
difference is explained in EXPLANATIONS, with its reason, or it fails the test; so does an explanation that explains
nothing."""

import collections
import os
import re
import subprocess
import sys
import tempfile

# What tshark is asked for; all but the malformations may come more than once in a frame, for headers within headers.
FIELDS = """frame.protocols vlan.id ieee8021ad.id ieee8021ad.svid ieee8021ad.cvid ieee8021ah.etype vlan.etype
ip.src ip.dst ip.proto ip.frag_offset
ip.flags.mf ipv6.src ipv6.dst ipv6.fraghdr.nxt ipv6.fraghdr.offset ipv6.fraghdr.more udp.dstport
tcp.dstport sctp.dstport _ws.malformed _ws.expert.message""".split()

TSHARK = ["tshark", "-n", "-T", "fields", "-E", "occurrence=a", "-E", "aggregator=|",
          "-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE",
          "-o", "ip.tso_support:FALSE", "-o", "tcp.desegment_tcp_streams:FALSE",
          "-o", "gui.max_tree_depth:4096",
          # payload, tunnels and trailers are none of our business
          "--disable-protocol", "vssmonitoring",
          *(f"-dip.proto=={number},data" for number in (4, 41, 47, 97, 137)),
          *(f"-d{name}.port==0-65535,data" for name in ("udp", "tcp", "sctp"))]

LINK = {"eth", "ethertype", "vlan", "ieee8021ad"}
EXTENSIONS = {"ipv6.hopopts", "ipv6.routing", "ipv6.dstopts", "ipv6.fraghdr", "ah"}
TRANSPORTS = {"tcp", "udp", "sctp", "icmp", "icmpv6"}
NUMBERS = {"6": "tcp", "17": "udp", "132": "sctp"}

# Of all that tshark remarks on, what says that a header's length or version lies.
LIES = re.compile("Bad length value|Bogus IP|Bogus TCP header length|header must be exactly|exceeds framing length|"
                  "exceeds packet length|Length is zero but payload|does not contain a full TCP header")

Frame = collections.namedtuple("Frame", "number kind malformation version source destination protocol port fragment "
                               "bytes words")


class Dissection:
    """What tshark says of the outermost IP packet."""

    def __init__(self, line):
        seen = dict(zip(FIELDS, ([v for v in value.split("|") if v] for value in line.split("\t"))))
        protocols = seen["frame.protocols"][0].split(":") if seen["frame.protocols"] else []
        self.messages = seen["_ws.expert.message"]
        self.tags = sum(len(seen[name]) for name in ("vlan.id", "ieee8021ad.id", "ieee8021ad.svid", "ieee8021ad.cvid"))
        self.old_tag = any(int(kind, 0) == 0x9100 for kind in seen["ieee8021ah.etype"] + seen["vlan.etype"])
        while protocols and protocols[0] in LINK:
            protocols.pop(0)
        self.network = protocols.pop(0) if protocols and protocols[0] in ("ip", "ipv6") else None
        self.extensions = []
        while self.network and protocols and protocols[0] in EXTENSIONS:
            self.extensions.append(protocols.pop(0))
        self.above = protocols
        self.version = {"ip": "4", "ipv6": "6", None: "-"}[self.network]
        self.source = (seen[f"{self.network}.src"] + ["-"])[0] if self.network else "-"
        self.destination = (seen[f"{self.network}.dst"] + ["-"])[0] if self.network else "-"
        self.fragment = self.read_fragment(seen)
        self.protocol = self.read_protocol(seen)
        ports = seen.get(f"{self.protocol}.dstport")
        self.port = ports[0] if ports else "-"
        self.malformed = self.read_malformed(seen)
        self.broke_off_in_tag = any("VLAN" in text or "802.1" in text for text in seen["_ws.malformed"])
        self.broke_off_in_extension = any("IPv6 " in text for text in seen["_ws.malformed"])

    def read_fragment(self, seen):
        name = "ip.frag_offset" if self.network == "ip" else "ipv6.fraghdr.offset"
        more = "ip.flags.mf" if self.network == "ip" else "ipv6.fraghdr.more"
        if self.network == "ipv6" and "ipv6.fraghdr" not in self.extensions:
            return "none"
        count = 1 if self.network == "ip" else self.extensions.count("ipv6.fraghdr")
        if any(int(offset, 0) for offset in seen[name][:count]):
            return "later"
        return "first" if "1" in seen[more][:count] or "True" in seen[more][:count] else "none"

    def read_protocol(self, seen):
        if self.network == "ip":
            return NUMBERS.get((seen["ip.proto"] + ["-"])[0], "none")
        if self.above and self.above[0] in NUMBERS.values():
            return self.above[0]
        return NUMBERS.get(seen["ipv6.fraghdr.nxt"][-1], "none") if self.fragment != "none" else "none"

    def read_malformed(self, seen):
        if not self.network and self.above not in ([], ["data"]):
            return False  # what it finds fault with is no IP, or wrapped in something else
        if any(LIES.search(message) for message in self.messages):
            return True
        inner = [name for name in self.above if name != "data"]
        if len(inner) > 1 or (inner and inner[0] not in TRANSPORTS):
            return False  # where it broke off lies further in
        return any(text.startswith("[Malformed Packet: ") for text in seen["_ws.malformed"])


def differences(frame, theirs):
    """Names what the two do not agree on."""
    if frame.kind == "malformed" or theirs.malformed:
        return [] if (frame.kind == "malformed") == theirs.malformed else ["malformed"]
    if frame.kind == "not-ip" or not theirs.network:
        return [] if frame.kind == "not-ip" and not theirs.network else ["network"]
    compared = ["version", "source", "destination", "fragment"]
    if frame.protocol != "unknown":
        compared.append("protocol")
    if frame.kind == "placed" and frame.protocol != "none":
        compared.append("port")
    return [name for name in compared if getattr(frame, name) != getattr(theirs, name)]


def only_theirs(frame, different):
    return different == ["malformed"] and frame.kind != "malformed"


def only_ours(frame, different):
    return different == ["malformed"] and frame.kind == "malformed"


# Who differs, and why the parser is right, or no worse than it must be. The first that fits counts.
EXPLANATIONS = [
    (lambda frame, theirs, different: frame.kind == "not-ip" and (theirs.tags > 2 or theirs.broke_off_in_tag),
     "Behind a third VLAN tag nothing is read: 802.1Q and 802.1ad know two, and the work is bounded."),
    (lambda frame, theirs, different: frame.kind == "not-ip" and theirs.old_tag,
     "0x9100 is a tag of before 802.1ad: no IP."),
    (lambda frame, theirs, different: only_ours(frame, different) and frame.malformation == "transport"
     and not theirs.above,
     "A transport header of which not one byte is there is cut off; tshark has then nothing to call malformed."),
    (lambda frame, theirs, different: only_ours(frame, different) and theirs.above in (["icmp"], ["icmpv6"]),
     "An ICMP message has eight bytes at least (RFC 792, RFC 4443); tshark asks for what its type needs."),
    (lambda frame, theirs, different: only_ours(frame, different) and frame.malformation == "extension"
     and theirs.fragment == "first",
     "A first fragment holds all extension headers whole, or is discarded (RFC 7112, RFC 8200 section 4.5)."),
    (lambda frame, theirs, different: only_theirs(frame, different) and frame.version == "4" and theirs.extensions,
     "Extension headers are IPv6's (RFC 8200); over IPv4 they, and AH that only a security association opens "
     "(RFC 4302), are protocols without ports."),
    (lambda frame, theirs, different: only_theirs(frame, different) and frame.fragment == "later",
     "Behind a fragment offset lie no headers (RFC 8200 section 4.5); tshark reads some where the fragment is empty or "
     "its own options broke off before."),
    (lambda frame, theirs, different: only_theirs(frame, different) and frame.fragment == "first",
     "Lengths in a first fragment are the datagram's, and a tiny one (RFC 1858) is told from nonsense by who "
     "reassembles it: a stray, and metered."),
    (lambda frame, theirs, different: only_theirs(frame, different) and frame.protocol == "unknown",
     "A chain of more than eight extension headers is a stray, metered by the tightest limit: its rest is not read."),
    (lambda frame, theirs, different: only_theirs(frame, different) and theirs.broke_off_in_extension,
     "Options within extension headers are not read: they are the host's (RFC 8200 section 4.2), which drops the "
     "packet later."),
    (lambda frame, theirs, different: only_theirs(frame, different) and frame.protocol == "none",
     "Of a protocol without ports no more is read than that there is an ICMP header (RFC 792, RFC 4443)."),
    (lambda frame, theirs, different: only_theirs(frame, different) and frame.protocol == "sctp",
     "Chunks behind SCTP's common header (RFC 9260) are not read."),
]


def explain(frame, theirs, different):
    return next((e for e in EXPLANATIONS if e[0](frame, theirs, different)), None)


def read_frames(readings, capture):
    lines = subprocess.run([readings, capture], check=True, capture_output=True, text=True).stdout.splitlines()
    for number, line in enumerate(lines, 1):
        yield Frame(number, *line.split("\t"))


def read_dissections(capture):
    command = TSHARK + ["-r", capture] + [argument for field in FIELDS for argument in ("-e", field)]
    with tempfile.TemporaryDirectory() as nobody:  # no one's preferences
        environment = os.environ | {"HOME": nobody, "XDG_CONFIG_HOME": nobody}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        sys.exit(f"dissect: tshark: {done.stderr}")
    return [Dissection(line) for line in done.stdout.splitlines()]


def main():
    readings, capture = sys.argv[1:]
    frames = list(read_frames(readings, capture))
    dissections = read_dissections(capture)
    if not frames or len(frames) != len(dissections):
        sys.exit(f"dissect: {len(frames)} frames, tshark read {len(dissections)}")
    explained, unexplained = collections.Counter(), []
    for frame, theirs in zip(frames, dissections):
        different = differences(frame, theirs)
        explanation = explain(frame, theirs, different) if different else None
        if explanation:
            explained[explanation[1]] += 1
        elif different:
            unexplained.append((frame, theirs, different))
    for _, reason in EXPLANATIONS:
        print(f"{explained[reason]:6}  {reason}")
    for frame, theirs, different in unexplained[:40]:
        print(f"no agreement on {', '.join(different)}: {frame}\n  tshark: {vars(theirs)}")
    stale = [reason for _, reason in EXPLANATIONS if not explained[reason]]
    for reason in stale:
        print(f"explains nothing: {reason}")
    print(f"dissect: {len(frames)} frames, {sum(explained.values())} explained differences, "
          f"{len(unexplained)} unexplained")
    sys.exit(1 if unexplained or stale else 0)


if __name__ == "__main__":
    main()
