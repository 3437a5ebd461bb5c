/* SPDX-License-Identifier: GPL-2.0-only */
/* A packet's tag: which user an application has named for its connection. One lookup in a hash, and only services whose
 * users are of kind `tag` pay for it. */
#pragma once

#include "abi.h"
#include "packet.h"
#include "tags.h"

/* Where the connection's tag would lie. False where the ports are not there to read. */
static __always_inline bool tag_key_of(struct xdp_md *ctx, const struct packet *packet, struct tag_key *key)
{
	/* Source and destination: the same place in TCP and UDP. */
	const __be16 *ports = packet_transport(ctx, packet, 2 * sizeof(*ports));

	if (!ports)
		return false;
	*key = (struct tag_key){.remote = {packet->source[0], packet->source[1]},
	                        .local = {packet->destination[0], packet->destination[1]},
	                        .remote_port = ports[0],
	                        .local_port = ports[1],
	                        .table = packet->table};
	return true;
}

/* The TCP socket that a packet would reach here, in the interface's namespace: its state, 0 where there is none. A
 * global function: the tuple would else lie on the stack of all packets, of which not much is left. */
__noinline int tcp_state_at(struct xdp_md *ctx, const struct tag_key *key, __u32 ipv6)
{
	struct bpf_sock_tuple tuple = {0};
	struct bpf_sock *socket;

	if (!key)
		return 0;
	if (ipv6) {
		__builtin_memcpy(tuple.ipv6.saddr, key->remote, sizeof(tuple.ipv6.saddr));
		__builtin_memcpy(tuple.ipv6.daddr, key->local, sizeof(tuple.ipv6.daddr));
		tuple.ipv6.sport = key->remote_port;
		tuple.ipv6.dport = key->local_port;
		socket = bpf_skc_lookup_tcp(ctx, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	} else {
		tuple.ipv4.saddr = key->remote[1] >> 32;
		tuple.ipv4.daddr = key->local[1] >> 32;
		tuple.ipv4.sport = key->remote_port;
		tuple.ipv4.dport = key->local_port;
		socket = bpf_skc_lookup_tcp(ctx, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	}
	if (!socket)
		return 0;
	int state = socket->state;
	bpf_sk_release(socket);
	return state;
}

/* Whether a SYN on a tagged connection begins another one: the old one has ended (its peer has reset it), and only the
 * application has not closed it yet. A SYN on one that lives changes nothing there (RFC 5961 section 4), and must
 * change nothing here, or users would shake their tags off with it. Where the socket is in another namespace, and none
 * is found here, closing it is what ends its tag. */
static __always_inline bool tag_is_over(struct xdp_md *ctx, const struct packet *packet, const struct tag_key *key)
{
	if (!packet_connects(ctx, packet))
		return false;
	int state = tcp_state_at(ctx, key, packet->ipv6);
	return state == BPF_TCP_LISTEN || state == BPF_TCP_NEW_SYN_RECV || state == BPF_TCP_TIME_WAIT ||
	       state == BPF_TCP_CLOSE;
}

/* The user that was named for the packet's connection, if one was. */
static __always_inline bool tag_find(struct xdp_md *ctx, const struct packet *packet, __u64 *user)
{
	struct tag_key key;

	if (!tag_key_of(ctx, packet, &key))
		return false;
	const struct tag *tag = bpf_map_lookup_elem(&tags, &key);
	if (likely(!tag))
		return false;
	if (unlikely(tag_is_over(ctx, packet, &key))) {
		bpf_map_delete_elem(&tags, &key);
		return false;
	}
	*user = tag->user;
	return true;
}
