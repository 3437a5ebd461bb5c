/* SPDX-License-Identifier: GPL-2.0-only */
/* Frames from words, so that a test case is one line. Layers are separated by blanks, arguments follow a colon and are
 * separated by commas:
 *
 *   q ad                     an 802.1Q or 802.1ad tag
 *   4:src=A,dst=A,opt=N,off=N,mf,id=N,total=N,ihl=N,version=N,protocol=N
 *   6:src=A,dst=A,payload=N,version=N
 *   hbh rt dst:len=N  ah:len=N  frag:off=N,mf,id=N        extension headers
 *   tcp:N,doff=N,flags=N,from=N,seq=N,ack=N  udp:N,len=N,from=N  sctp:N  icmp  icmp6      N: the destination port
 *   type:N                   any EtherType;  none:N  any protocol number, without a header
 *   raw:N  hex:DIGITS        N bytes of zero; those bytes
 *   cut:N  pad:N             the whole frame cut to N bytes, or N bytes of padding behind it
 *
 * Lengths and next headers are right unless an argument says otherwise. */
#pragma once

#include <stddef.h>

#define FRAME_MAX 4096

/* Writes the frame. Returns its length; a mistake in the words ends the program with a message. */
size_t frame_write(const char *words, unsigned char out[FRAME_MAX]);

/* The same, padded to the least that Ethernet carries (IEEE 802.3: 64 bytes with the checksum, which is none of ours),
 * as is what comes by a wire. So are most frames ordinary to the packet path, and go its short way; a datagram of a few
 * bytes that no wire has carried does not. */
#define FRAME_MIN 60
size_t frame_write_padded(const char *words, unsigned char out[FRAME_MAX]);
