/* SPDX-License-Identifier: GPL-2.0-only */
/* Beside the packet path, behind it: what the host itself dropped of what came for a service, by the kernel's own
 * reason. Watches the kernel's tracepoint for dropped packets (kernel 5.17 gives it reasons), and listeners whose queue
 * is full, since a SYN that finds it so is thrown away without a reason. Changes nothing. */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <stdbool.h>

#include "abi.h"
#include "compiler.h"
#include "packet.h"
#include "service.h"
#include "state.h"

#define IFF_LOOPBACK     0x8
#define LOOPBACK_INDEX   1 /* in every network namespace */
#define HEADER_UNSET     0xffff
#define DESTINATION_NONE 1UL /* the lowest bit of a packet's destination is a flag */

/* What is read of the kernel's own structures, wherever the running kernel has it. */
#define KERNEL_TYPE __attribute__((preserve_access_index))

struct ns_common {
	unsigned int inum;
} KERNEL_TYPE;

struct net {
	struct ns_common ns;
} KERNEL_TYPE;

typedef struct {
	struct net *net;
} KERNEL_TYPE possible_net_t;

struct net_device {
	unsigned int flags;
	possible_net_t nd_net;
} KERNEL_TYPE;

struct dst_entry {
	struct net_device *dev;
} KERNEL_TYPE;

struct sock_common {
	possible_net_t skc_net;
} KERNEL_TYPE;

struct sock {
	struct sock_common __sk_common;
	__u32 sk_ack_backlog;
	__u32 sk_max_ack_backlog;
} KERNEL_TYPE;

struct sk_buff {
	struct net_device *dev;
	unsigned long _skb_refdst;
	int skb_iif;
	__be16 protocol;
	__u16 transport_header;
	__u16 network_header;
	__u16 mac_header;
	unsigned char *head;
	unsigned char *data;
} KERNEL_TYPE;

/* What user space has learnt of the running kernel and of itself. */
const volatile __u32 own_namespace;   /* the number of the network namespace whose packets count */
const volatile __u32 reason_spilled;  /* what XDP drops: in generic mode, our own spills */
const volatile __u32 reason_listener; /* for SYNs that find a listener's queue full */
const volatile bool has_socket;       /* the tracepoint tells for which socket a packet was (kernel 6.11) */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SERVICES_MAX);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct service_drops);
} host_drops SEC(".maps");

static __always_inline __u32 namespace_of(const struct net *net)
{
	return BPF_CORE_READ(net, ns.inum);
}

/* Whether the packet came in, for this host and in our namespace. Where it was on its way is known by where it was to
 * go, else by its device, else by its socket. One that is forwarded has a destination other than the loopback device.
 */
static __always_inline bool is_ours(const struct sk_buff *skb, const struct sock *socket)
{
	int came_by = BPF_CORE_READ(skb, skb_iif);
	const struct dst_entry *to = (void *)(BPF_CORE_READ(skb, _skb_refdst) & ~DESTINATION_NONE);
	const struct net_device *device = BPF_CORE_READ(skb, dev);

	if (came_by <= LOOPBACK_INDEX)
		return false;
	if (socket)
		return namespace_of(BPF_CORE_READ(socket, __sk_common.skc_net.net)) == own_namespace;
	if (to) {
		device = BPF_CORE_READ(to, dev);
		if (!(BPF_CORE_READ(device, flags) & IFF_LOOPBACK))
			return false;
	}
	return device && namespace_of(BPF_CORE_READ(device, nd_net.net)) == own_namespace;
}

/* The transport's part of what the classifier asks: protocol and destination port. */
static __always_inline void read_ports(const void *transport, __u8 protocol, struct packet *packet)
{
	__be16 ports[2];

	packet_no_ports(packet, protocol);
	if (packet->table != PORTS_NONE && bpf_probe_read_kernel(ports, sizeof(ports), transport) == 0)
		packet->port = bpf_ntohs(ports[1]);
}

/* What the classifier asks of a packet, out of the kernel's buffer. Extension headers hide the service. */
static __always_inline bool read_packet(const struct sk_buff *skb, struct packet *packet)
{
	const unsigned char *head = BPF_CORE_READ(skb, head), *data = BPF_CORE_READ(skb, data);
	__u16 network = BPF_CORE_READ(skb, network_header), mac = BPF_CORE_READ(skb, mac_header);
	__be16 protocol = BPF_CORE_READ(skb, protocol);
	/* Before the network header is set, the packet begins with it. */
	const void *at = network && network != mac ? head + network : data;
	struct ipv6hdr ipv6;
	struct iphdr ipv4;

	*packet = (struct packet){0};
	if (protocol == bpf_htons(ETHERTYPE_IPV4)) {
		if (bpf_probe_read_kernel(&ipv4, sizeof(ipv4), at))
			return false;
		packet->destination[1] = IPV4_MAPPED | (__u64)ipv4.daddr << 32;
		read_ports(at + ipv4.ihl * 4, ipv4.protocol, packet);
		return !(ipv4.frag_off & bpf_htons(IPV4_FRAGMENT_OFFSET));
	}
	if (protocol != bpf_htons(ETHERTYPE_IPV6) || bpf_probe_read_kernel(&ipv6, sizeof(ipv6), at))
		return false;
	packet->ipv6 = 1;
	__builtin_memcpy(packet->destination, &ipv6.daddr, sizeof(packet->destination));
	read_ports(at + sizeof(ipv6), ipv6.nexthdr, packet);
	return true;
}

static __always_inline void drop_count(const struct sk_buff *skb, const struct sock *socket, __u32 reason)
{
	__u32 active = *(const volatile __u32 *)&state.live.active, service = SERVICE_OTHER;
	struct packet packet;

	OPAQUE(reason); /* its bound is checked below, where the verifier sees it */
	if (!is_ours(skb, socket))
		return;
	if (read_packet(skb, &packet))
		service = service_find(LIVE_CLASSIFIER_SLOT(active), &packet);
	struct service_drops *drops = bpf_map_lookup_elem(&host_drops, &service);
	if (drops && reason < DROP_REASONS)
		__sync_fetch_and_add(&drops->packets[reason], 1);
}

/* void *location, enum skb_drop_reason reason, struct sock *rx_sk. The last one may be NULL. */
SEC("tp_btf/kfree_skb")
int drop_seen(__u64 *ctx)
{
	const struct sk_buff *skb = (const void *)ctx[0];
	__u32 reason = ctx[2];
	const struct sock *socket = has_socket ? (const void *)ctx[3] : 0;

	if (reason == reason_spilled)
		return 0;
	drop_count(skb, socket, reason < DROP_OTHER ? reason : DROP_OTHER);
	return 0;
}

/* A SYN comes to a listener: with a full queue it will be dropped (sk_acceptq_is_full()). */
SEC("fentry/tcp_conn_request")
int listener_asked(__u64 *ctx)
{
	const struct sock *listener = (const void *)ctx[2];
	const struct sk_buff *skb = (const void *)ctx[3];

	if (BPF_CORE_READ(listener, sk_ack_backlog) > BPF_CORE_READ(listener, sk_max_ack_backlog))
		drop_count(skb, listener, reason_listener);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
