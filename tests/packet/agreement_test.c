/* SPDX-License-Identifier: GPL-2.0-only */
/* F30. The parser compiled for user space, which the fuzzer works on, and the one that the kernel runs agree on every
 * frame: what the one says is what the other must do. The kernel's side is seen from outside alone, by verdict,
 * counters and table of users. Three configurations make its facts visible there:
 *
 *  - A service is 256 ports: the counter that moves tells protocol and the port's upper byte. Services of different
 *    protocols cut sources to prefixes of different lengths, which tell on which protocol's account a stray goes.
 *  - The same with other lengths, for what happened to be alike: a stray of unknown protocol goes by the tightest
 *    limit of all.
 *  - For each protocol: a service is 64 ports that have the lower ten bits in common.
 *
 * Whether a packet is a fragment shows in what becomes of its datagram's other fragments. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/parser.h"

#include "base/cleanup.h"
#include "packet/corpus.h"
#include "packet/world.h"

#define LOW_BITS     10
#define PARTNER_PORT 0x1234
#define CORPUS_EVERY 17 /* on an emulated processor: a prime, so that no length and no kind of change is left out */

static struct world world;
static struct corpus corpus;

static const char *const protocols[] = {
	[PORTS_TCP] = "tcp", [PORTS_UDP] = "udp", [PORTS_SCTP] = "sctp", [PORTS_NONE] = "icmp"};

/* How many bits are cut off a source, by the service of which protocol. The one with the tightest limit is also the
 * account of strays of unknown protocol. */
struct accounts {
	unsigned cut_bits[PORT_TABLES];
	enum port_table tightest;
};

static const struct accounts accounts_one = {.cut_bits = {0, 1, 2, 3}, .tightest = PORTS_TCP};
static const struct accounts accounts_two = {.cut_bits = {3, 2, 1, 0}, .tightest = PORTS_SCTP};

static void write_service(FILE *yaml, const struct accounts *accounts, enum port_table table, const char *protocol)
{
	fprintf(yaml, ", protocol: %s, user: {kind: source, ipv4: %u, ipv6: %u}", protocol,
	        32 - accounts->cut_bits[table], 128 - accounts->cut_bits[table]);
	fprintf(yaml, ", limit: {packets_per_second: %u, burst: 1000}", table == accounts->tightest ? 5000U : 100000U);
}

/* Services of 256 ports each. */
static void configure_upper_bytes(const struct accounts *accounts)
{
	_cleanup_free_ char *text = NULL;
	size_t size;
	FILE *yaml = open_memstream(&text, &size);

	fprintf(yaml, "mode: enforce\nservices:\n  - {name: icmp");
	write_service(yaml, accounts, PORTS_NONE, "icmp");
	fprintf(yaml, "}\n  - {name: icmpv6");
	write_service(yaml, accounts, PORTS_NONE, "icmpv6");
	fprintf(yaml, "}\n");
	for (enum port_table table = 0; table < PORTS_NONE; table++) {
		for (unsigned byte = 0; byte < 256; byte++) {
			fprintf(yaml, "  - {name: %s-%u", protocols[table], byte);
			write_service(yaml, accounts, table, protocols[table]);
			fprintf(yaml, ", ports: [%u-%u]}\n", byte ? byte << 8 : 1, byte << 8 | 255);
		}
	}
	fclose(yaml);
	world_apply(&world, text);
}

/* Services of all ports of one protocol that have the lower ten bits in common. */
static void configure_lower_bits(enum port_table table)
{
	_cleanup_free_ char *text = NULL;
	size_t size;
	FILE *yaml = open_memstream(&text, &size);

	fprintf(yaml, "mode: enforce\nservices:\n");
	for (unsigned low = 0; low < 1 << LOW_BITS; low++) {
		unsigned first = low ? low : 1 << LOW_BITS; /* no service has port 0 */
		fprintf(yaml, "  - {name: %s-%u, protocol: %s, ports: [%u", protocols[table], low, protocols[table],
		        first);
		for (unsigned port = first + (1 << LOW_BITS); port <= UINT16_MAX; port += 1 << LOW_BITS)
			fprintf(yaml, ",%u", port);
		fprintf(yaml, "]}\n");
	}
	fclose(yaml);
	world_apply(&world, text);
}

/* What the parser in user space says of a frame. */
struct reading {
	enum packet_kind kind;
	struct packet packet;
};

static struct reading read_frame(const struct corpus_frame *frame)
{
	struct reading reading;
	size_t linear_bytes = frame->length < WORLD_BUFFER_BYTES ? frame->length : WORLD_BUFFER_BYTES;

	reading.kind = parse_frame(frame->bytes, linear_bytes, frame->length, &reading.packet);
	return reading;
}

/* The service that counts a placed packet; `part` is the part of its port by which services are told apart. No service
 * has port 0. */
static void name_service(const struct packet *packet, unsigned part, char name[32])
{
	if (packet->table != PORTS_NONE && packet->port != 0)
		snprintf(name, 32, "%s-%u", protocols[packet->table], part);
	else if (packet->table == PORTS_NONE && (packet->port == PROTOCOL_ICMP || packet->port == PROTOCOL_ICMPV6))
		snprintf(name, 32, "%s", packet->port == PROTOCOL_ICMP ? "icmp" : "icmpv6");
	else
		snprintf(name, 32, "other");
}

static void name_service_by_upper_byte(const struct reading *reading, char name[32])
{
	if (reading->kind == PACKET_PLACED)
		name_service(&reading->packet, reading->packet.port >> 8, name);
	else
		snprintf(name, 32, "other");
}

/* What runs have counted so far: every packet once, and none of it elsewhere. */
struct account {
	__u64 packets;
	__u64 malformed[MALFORMATIONS];
};

static bool complain(const struct corpus_frame *frame, const struct reading *reading, const char *about)
{
	static const char *const kinds[] = {"placed", "stray", "not IP", "malformed"};

	printf("no agreement on %s: in user space %s, table %u, port %u, fragment %u, malformation %u\n", about,
	       kinds[reading->kind], reading->packet.table, reading->packet.port, reading->packet.fragment,
	       reading->packet.malformation);
	corpus_print(frame);
	return false;
}

static struct tally service_tally(const char *service, unsigned outcome)
{
	return world_tallies(&world, service).outcomes[outcome];
}

/* Runs the frame twice on an empty table, since a user is introduced by its second packet. */
static bool run_and_compare(const struct corpus_frame *frame, const struct reading *reading, const char *service,
                            struct account *account)
{
	bool malformed = reading->kind == PACKET_MALFORMED;
	unsigned outcome = malformed ? OUTCOME_SPILLED + REASON_MALFORMED : OUTCOME_PASSED;
	struct tally before = service_tally(service, outcome);

	/* Not with a repeat count: for that the kernel patches its code anew, which takes milliseconds. */
	unsigned first_verdict = world_run(&world, frame->bytes, frame->length, 1);
	unsigned verdict = world_run(&world, frame->bytes, frame->length, 1);
	struct tally after = service_tally(service, outcome);
	account->packets += 2;
	if (malformed)
		account->malformed[reading->packet.malformation] += 2;
	if (verdict != first_verdict || verdict != (malformed ? XDP_DROP : XDP_PASS))
		return complain(frame, reading, "the verdict");
	if (after.packets != before.packets + 2)
		return complain(frame, reading, "the service");
	if (after.bytes != before.bytes + 2 * frame->length)
		return complain(frame, reading, "the bytes");
	return true;
}

/* The source as it stands in the table of users. */
static void cut_source(const struct accounts *accounts, const struct reading *reading, const char *service,
                       __u64 key[2])
{
	const struct packet *packet = &reading->packet;
	enum port_table table = packet->table == POLICY_STRAY_UNKNOWN ? accounts->tightest : packet->table;

	memcpy(key, packet->source, sizeof(packet->source));
	if (reading->kind == PACKET_PLACED && strcmp(service, "other") == 0) {
		if (packet->ipv6) /* `other` counts by /64 */
			key[1] = 0;
		return;
	}
	((unsigned char *)key)[15] &= (unsigned char)(0xff << accounts->cut_bits[table]);
}

static bool compare_user(const struct corpus_frame *frame, const struct reading *reading,
                         const struct accounts *accounts, const char *service)
{
	__u64 key[2], packets = 0, bytes = 0;
	const struct user_detail *user = world_only_user(&world, &packets, &bytes);

	if (reading->kind == PACKET_MALFORMED || reading->kind == PACKET_NOT_IP)
		return !user || complain(frame, reading, "having no user");
	if (!user || packets != 2 || bytes != 2 * frame->length)
		return complain(frame, reading, "having a user");
	cut_source(accounts, reading, service, key);
	if (memcmp(user->key, key, sizeof(key)) != 0 || (user->ipv6) != reading->packet.ipv6)
		return complain(frame, reading, "the source, or the account of a stray");
	return true;
}

/* Another fragment of the packet's datagram: its first one, to PARTNER_PORT, or a later one. Returns false where the
 * datagram's protocol belongs to no service, so that its fragments do not show. */
static bool write_partner(const struct packet *packet, bool first, struct corpus_frame *partner)
{
	unsigned protocol = packet->ipv6 ? PROTOCOL_UDP : packet->fragment_id >> 16;
	unsigned char *frame = partner->bytes, *ip = frame + 14;
	size_t header_bytes = packet->ipv6 ? 48 : 20;

	if (protocol != PROTOCOL_TCP && protocol != PROTOCOL_UDP && protocol != PROTOCOL_SCTP)
		return false;
	memset(frame, 0, FRAME_MAX);
	partner->length = 14 + header_bytes + 24;
	frame[12] = packet->ipv6 ? 0x86 : 0x08;
	frame[13] = packet->ipv6 ? 0xdd : 0x00;
	if (packet->ipv6) {
		ip[0] = 0x60;
		ip[5] = 8 + 24;
		ip[6] = PROTOCOL_FRAGMENT;
		memcpy(ip + 8, packet->source, 16);
		memcpy(ip + 24, packet->destination, 16);
		ip[40] = (unsigned char)protocol;
		ip[43] = first ? 1 : 8;
		memcpy(ip + 44, &packet->fragment_id, 4);
	} else {
		ip[0] = 0x45;
		ip[3] = 20 + 24;
		memcpy(ip + 4, &packet->fragment_id, 2);
		ip[6] = first ? 0x20 : 0;
		ip[7] = first ? 0 : 1;
		ip[9] = (unsigned char)protocol;
		memcpy(ip + 12, (const unsigned char *)packet->source + 12, 4);
		memcpy(ip + 16, (const unsigned char *)packet->destination + 12, 4);
	}
	unsigned char *transport = ip + header_bytes;
	transport[2] = PARTNER_PORT >> 8;
	transport[3] = PARTNER_PORT & 0xff;
	transport[5] = 24;                                     /* UDP's length */
	transport[12] = protocol == PROTOCOL_TCP ? 5 << 4 : 0; /* TCP's */
	return true;
}

/* A placed packet is its datagram's first fragment where a later one then follows it to its service. A stray is a later
 * one where it follows a first one. */
static bool compare_fragment(const struct corpus_frame *frame, const struct reading *reading, const char *service,
                             struct account *account)
{
	unsigned char bytes[FRAME_MAX];
	struct corpus_frame partner = {.bytes = bytes, .words = frame->words};
	bool placed = reading->kind == PACKET_PLACED;
	char partners_service[32];

	if (reading->kind > PACKET_STRAY || !write_partner(&reading->packet, !placed, &partner))
		return true;
	struct reading partners = read_frame(&partner);
	if (placed) {
		if (reading->packet.fragment == FRAGMENT_FIRST)
			return run_and_compare(&partner, &partners, service, account);
		return run_and_compare(&partner, &partners, "other", account);
	}
	name_service_by_upper_byte(&partners, partners_service);
	return run_and_compare(&partner, &partners, partners_service, account) &&
	       run_and_compare(frame, reading, reading->packet.fragment == FRAGMENT_LATER ? partners_service : "other",
	                       account);
}

/* With each frame's own counter moved, the sums tell that no other one moved. */
static void assert_account(const struct account *account)
{
	const struct catalogue_slot *catalogue = datapath_catalogue(world.datapath);
	struct tally malformed[MALFORMATIONS];
	struct error err;
	__u64 counted = 0;

	for (unsigned number = 0; number < SERVICES_MAX; number++) {
		if (!catalogue->names[number][0])
			continue;
		struct service_tallies tallies = world_tallies(&world, catalogue->names[number]);
		for (unsigned outcome = 0; outcome < OUTCOMES; outcome++)
			counted += tallies.outcomes[outcome].packets;
	}
	assert_int_equal(counted, account->packets);
	assert_int_equal(datapath_read_malformations(world.datapath, malformed, &err), 0);
	for (unsigned why = 0; why < MALFORMATIONS; why++)
		assert_int_equal(malformed[why].packets, account->malformed[why]);
}

/* Compares every frame, or the strays alone. */
static void compare_frames(const struct accounts *accounts, bool strays_alone)
{
	struct account account = {0};
	size_t failures = 0;
	char service[32];

	configure_upper_bytes(accounts);
	world_reset(&world);
	for (size_t i = 0; i < corpus.count && failures < 10; i++) {
		const struct corpus_frame *frame = &corpus.frames[i];
		struct reading reading = read_frame(frame);
		if (strays_alone && reading.kind != PACKET_STRAY)
			continue;
		name_service_by_upper_byte(&reading, service);
		world_forget(&world);
		bool agreed = run_and_compare(frame, &reading, service, &account) &&
		              compare_user(frame, &reading, accounts, service) &&
		              compare_fragment(frame, &reading, service, &account);
		failures += !agreed;
	}
	assert_int_equal(failures, 0);
	assert_account(&account);
}

static void test_kinds_services_users_and_fragments(void **state)
{
	(void)state;
	compare_frames(&accounts_one, false);
}

static void test_strays_on_other_accounts(void **state)
{
	(void)state;
	compare_frames(&accounts_two, true);
}

/* Only the frames that the other tests have found to be of this protocol on both sides. */
static void test_lower_bits_of_ports(void **state)
{
	enum port_table table = *(enum port_table *)*state;
	struct account account = {0};
	size_t failures = 0;
	char service[32];

	configure_lower_bits(table);
	world_reset(&world);
	for (size_t i = 0; i < corpus.count && failures < 10; i++) {
		struct reading reading = read_frame(&corpus.frames[i]);
		if (reading.kind != PACKET_PLACED || reading.packet.table != table)
			continue;
		name_service(&reading.packet, reading.packet.port & ((1 << LOW_BITS) - 1), service);
		failures += !run_and_compare(&corpus.frames[i], &reading, service, &account);
	}
	assert_int_equal(failures, 0);
	assert_true(account.packets > 0);
	assert_account(&account);
}

/* The corpus says something only where every kind of packet is in it. */
static void test_corpus_has_every_kind(void **state)
{
	size_t kinds[PACKET_MALFORMED + 1] = {0}, malformed[MALFORMATIONS] = {0}, strays[POLICY_STRAYS] = {0};
	size_t fragments[FRAGMENT_LATER + 1] = {0};

	(void)state;
	for (size_t i = 0; i < corpus.count; i++) {
		struct reading reading = read_frame(&corpus.frames[i]);
		kinds[reading.kind]++;
		fragments[reading.packet.fragment]++;
		if (reading.kind == PACKET_MALFORMED)
			malformed[reading.packet.malformation]++;
		if (reading.kind == PACKET_STRAY)
			strays[reading.packet.table]++;
	}
	printf("%zu frames: %zu placed, %zu strays, %zu not IP, %zu malformed\n", corpus.count, kinds[0], kinds[1],
	       kinds[2], kinds[3]);
	size_t many = world_emulated() ? 100 / CORPUS_EVERY : 100, some = world_emulated() ? 0 : 10;
	for (unsigned i = 0; i <= PACKET_MALFORMED; i++)
		assert_true(kinds[i] > many);
	for (unsigned i = 0; i < MALFORMATIONS; i++)
		assert_true(malformed[i] > some);
	for (unsigned i = 0; i < POLICY_STRAYS; i++)
		assert_true(strays[i] > some);
	for (unsigned i = 0; i <= FRAGMENT_LATER; i++)
		assert_true(fragments[i] > many);
}

/* Keeps one frame in CORPUS_EVERY, of all sorts. */
static void thin_corpus(void)
{
	for (size_t i = 0; i < corpus.count; i++) {
		if (i % CORPUS_EVERY)
			free(corpus.frames[i].bytes);
		else
			corpus.frames[i / CORPUS_EVERY] = corpus.frames[i];
	}
	corpus.count = (corpus.count + CORPUS_EVERY - 1) / CORPUS_EVERY;
}

static int make(void **state)
{
	(void)state;
	corpus = corpus_make();
	if (world_emulated())
		thin_corpus();
	world_make(&world, "services: []\n");
	return 0;
}

static int remove_world(void **state)
{
	(void)state;
	world_remove(&world);
	corpus_free(&corpus);
	return 0;
}

int main(void)
{
	static enum port_table tcp = PORTS_TCP, udp = PORTS_UDP, sctp = PORTS_SCTP;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_corpus_has_every_kind),
		cmocka_unit_test(test_kinds_services_users_and_fragments),
		cmocka_unit_test(test_strays_on_other_accounts),
		cmocka_unit_test_prestate(test_lower_bits_of_ports, &tcp),
		cmocka_unit_test_prestate(test_lower_bits_of_ports, &udp),
		cmocka_unit_test_prestate(test_lower_bits_of_ports, &sctp),
	};

	return cmocka_run_group_tests(tests, make, remove_world);
}
