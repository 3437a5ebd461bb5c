/* SPDX-License-Identifier: GPL-2.0-only */
/* How an application tells who a user is (include/spillway.h): programs on the sockets of the host, beside the packet
 * path. They write `tags`, which it reads. A tag belongs to one socket and ends with it. */
#include "vmlinux.h"

#include <asm-generic/errno.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <spillway.h>
#include <stdbool.h>

#include "abi.h"
#include "compiler.h"
#include "tags.h"

#define AF_INET     2
#define AF_INET6    10
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17

#define OPTION_DONE  (-1) /* as its length: the kernel shall not go on with the option */
#define OPTION_BYTES 4096 /* of a longer one a program sees only the beginning, a page */

/* Who beside root may name users; those of the trusted cgroup may in any case. */
const volatile __u32 allowed_uids[TAG_UIDS_MAX];
const volatile __u32 allowed_uids_count;

/* With each tagged socket, so that its end finds its tag: a released socket's addresses cannot be read. */
struct tagged_socket {
	struct tag_key key;
	__u64 tagged_ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct tagged_socket);
} tag_sockets SEC(".maps");

static __always_inline bool uid_is_allowed(void)
{
	__u32 uid = bpf_get_current_uid_gid();

	for (__u32 i = 0; i < TAG_UIDS_MAX && i < allowed_uids_count; i++)
		if (allowed_uids[i] == uid)
			return true;
	return uid == 0;
}

static __always_inline int option_refuse(int why)
{
	bpf_set_retval(-why);
	return 0;
}

/* The connection as its peer's packets have it. Returns 0, or what is wrong with it. */
static __always_inline int connection_of(const struct bpf_sock *socket, struct tag_key *key)
{
	if (socket->protocol != IPPROTO_TCP && socket->protocol != IPPROTO_UDP)
		return EOPNOTSUPP;
	if (!socket->dst_port || socket->state == BPF_TCP_CLOSE || socket->state == BPF_TCP_LISTEN ||
	    socket->state == BPF_TCP_SYN_SENT)
		return ENOTCONN;
	*key = (struct tag_key){.remote_port = socket->dst_port,
	                        .local_port = bpf_htons(socket->src_port),
	                        .table = socket->protocol == IPPROTO_TCP ? PORTS_TCP : PORTS_UDP};
	if (socket->family == AF_INET) {
		__u64 remote = socket->dst_ip4, local = socket->src_ip4;
		OPAQUE(remote); /* or the loads of both families become one at a variable offset, which is refused */
		OPAQUE(local);
		key->remote[1] = IPV4_MAPPED | remote << 32;
		key->local[1] = IPV4_MAPPED | local << 32;
	} else if (socket->family == AF_INET6) { /* an IPv4 connection of such a socket has its addresses mapped */
		key->remote[0] = socket->dst_ip6[0] | (__u64)socket->dst_ip6[1] << 32;
		key->remote[1] = socket->dst_ip6[2] | (__u64)socket->dst_ip6[3] << 32;
		key->local[0] = socket->src_ip6[0] | (__u64)socket->src_ip6[1] << 32;
		key->local[1] = socket->src_ip6[2] | (__u64)socket->src_ip6[3] << 32;
	} else {
		return EOPNOTSUPP;
	}
	return 0;
}

/* Removes what the socket has put there, and not what another has put there since: one that was reset keeps its ports
 * until it is closed, while a new connection may have them. */
static __always_inline void tag_remove(const struct tagged_socket *of)
{
	struct tag_key key = of->key;
	const struct tag *tag = bpf_map_lookup_elem(&tags, &key);

	if (tag && tag->tagged_ns == of->tagged_ns)
		bpf_map_delete_elem(&tags, &key);
}

static __always_inline int tag_put(struct bpf_sock *socket, const struct tag_key *key, __u64 user)
{
	struct tag tag = {.user = user, .tagged_ns = bpf_ktime_get_ns()};
	struct tagged_socket *tagged = bpf_sk_storage_get(&tag_sockets, socket, NULL, BPF_SK_STORAGE_GET_F_CREATE);

	if (!tagged)
		return ENOMEM;
	struct tagged_socket before = *tagged;
	*tagged = (struct tagged_socket){.key = *key, .tagged_ns = tag.tagged_ns};
	if (bpf_map_update_elem(&tags, key, &tag, BPF_ANY))
		return ENOSPC;
	if (before.tagged_ns) /* a UDP socket may have connected elsewhere since */
		tag_remove(&before);
	return 0;
}

/* A socket's option is set: ours is taken, any other goes on to the kernel. Several of these run one after another (the
 * trusted cgroup's and the root's; another Spillway's): each does its part, and one that may not leaves alone what
 * another has taken. */
static __always_inline int option_set(struct bpf_sockopt *ctx, bool allowed)
{
	struct tag_key key;
	const __u64 *user = ctx->optval;

	if (ctx->level != SOL_SPILLWAY || ctx->optname != SPILLWAY_USER) {
		if (ctx->optlen > OPTION_BYTES)
			ctx->optlen =
				0; /* the kernel takes the application's own bytes, not the beginning that we see */
		return 1;
	}
	bool done = ctx->optlen == OPTION_DONE;
	if (!allowed)
		return done ? 1 : option_refuse(EPERM);
	if ((!done && ctx->optlen != sizeof(*user)) || (void *)(user + 1) > ctx->optval_end)
		return option_refuse(EINVAL);
	int failure = connection_of(ctx->sk, &key);
	if (!failure)
		failure = tag_put(ctx->sk, &key, *user);
	if (failure)
		return option_refuse(failure);
	ctx->optlen = OPTION_DONE;
	return 1;
}

/* On all sockets of the host. */
SEC("cgroup/setsockopt")
int tag_set(struct bpf_sockopt *ctx)
{
	return option_set(ctx, uid_is_allowed());
}

/* On those of the trusted cgroup. */
SEC("cgroup/setsockopt")
int tag_set_trusted(struct bpf_sockopt *ctx)
{
	return option_set(ctx, true);
}

/* The last descriptor of a socket is closed. */
SEC("cgroup/sock_release")
int tag_end(struct bpf_sock *ctx)
{
	const struct tagged_socket *tagged = bpf_sk_storage_get(&tag_sockets, ctx, NULL, 0);

	if (tagged)
		tag_remove(tagged);
	return 1;
}

char LICENSE[] SEC("license") = "GPL";
