/* SPDX-License-Identifier: GPL-2.0-only */
/* Both ends of the laboratory's tagged cable: what leaves is tagged, what arrives is relieved of its tag, so that the
 * edge's XDP sees tagged frames on kernels that have no VLAN devices as well. VLAN_ID is given by lab.sh. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

SEC("tc/push")
int vlan_push(struct __sk_buff *skb)
{
	return bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), VLAN_ID) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

/* A trunk carries this VLAN alone: frames of others, or of none, are not for who listens here. */
SEC("tc/pop")
int vlan_pop(struct __sk_buff *skb)
{
	if (!skb->vlan_present || (skb->vlan_tci & 0xfff) != VLAN_ID)
		return TC_ACT_SHOT;
	return bpf_skb_vlan_pop(skb) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "GPL";
