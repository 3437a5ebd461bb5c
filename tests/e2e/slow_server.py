# SPDX-License-Identifier: GPL-2.0-only
"""A server whose service time is known: slow_server.py ADDRESS PORT MILLISECONDS. Answers HTTP on TCP and a DNS query on
UDP, each so long after it has read the request. Each wait is its own, so that none waits for another's."""
import asyncio
import socket
import sys

address, port, delay_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]) / 1e3
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"


async def serve(reader, writer):
    try:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(delay_s)
        writer.write(ANSWER)
        await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()


class Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, query, peer):
        # The query's header as an answer's with one record, and an A record (RFC 1035 section 4.1).
        answer = query[:2] + b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00" + query[12:]
        answer += b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x0a\x63\x00\x01"
        asyncio.get_running_loop().call_later(delay_s, self.transport.sendto, answer, peer)


async def main():
    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(serve, address, port, backlog=1024)
    await loop.create_datagram_endpoint(Datagrams, local_addr=(address, 53), family=socket.AF_INET)
    async with server:
        await server.serve_forever()


asyncio.run(main())
