/* SPDX-License-Identifier: GPL-2.0-only */
/* The command line of spillway-traffic: options in, one engine run, one line out. Must not know frames or BPF. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "traffic.h"

#define NS_PER_S 1000000000ULL

enum option_id {
	OPTION_INTERFACE,
	OPTION_DESTINATION_MAC,
	OPTION_SOURCE_MAC,
	OPTION_DESTINATION,
	OPTION_PORT,
	OPTION_PROTOCOL,
	OPTION_SOURCES,
	OPTION_USERS,
	OPTION_DISTRIBUTION,
	OPTION_SIZE,
	OPTION_PAYLOAD,
	OPTION_RATE,
	OPTION_COUNT,
	OPTION_SECONDS,
	OPTION_VLAN,
	OPTION_PCAP,
	OPTION_ATTACH_PASS,
	OPTION_SEED,
	OPTION_JSON,
	OPTION_HELP,
	OPTIONS,
};

static const struct option long_options[] = {
	{"interface", required_argument, NULL, OPTION_INTERFACE},
	{"destination-mac", required_argument, NULL, OPTION_DESTINATION_MAC},
	{"source-mac", required_argument, NULL, OPTION_SOURCE_MAC},
	{"destination", required_argument, NULL, OPTION_DESTINATION},
	{"port", required_argument, NULL, OPTION_PORT},
	{"protocol", required_argument, NULL, OPTION_PROTOCOL},
	{"sources", required_argument, NULL, OPTION_SOURCES},
	{"users", required_argument, NULL, OPTION_USERS},
	{"distribution", required_argument, NULL, OPTION_DISTRIBUTION},
	{"size", required_argument, NULL, OPTION_SIZE},
	{"payload", required_argument, NULL, OPTION_PAYLOAD},
	{"rate", required_argument, NULL, OPTION_RATE},
	{"count", required_argument, NULL, OPTION_COUNT},
	{"seconds", required_argument, NULL, OPTION_SECONDS},
	{"vlan", required_argument, NULL, OPTION_VLAN},
	{"pcap", required_argument, NULL, OPTION_PCAP},
	{"attach-pass", required_argument, NULL, OPTION_ATTACH_PASS},
	{"seed", required_argument, NULL, OPTION_SEED},
	{"json", no_argument, NULL, OPTION_JSON},
	{"help", no_argument, NULL, OPTION_HELP},
	{0},
};

static const char usage[] =
	"usage: spillway-traffic --interface NAME --destination-mac MAC --destination ADDRESS --sources PREFIX "
	"[options]\n"
	"       spillway-traffic --interface NAME --pcap FILE [--rate PPS] [--count N] [--seconds S]\n"
	"       spillway-traffic --attach-pass NAME --seconds S\n"
	"\n"
	"  --interface NAME         sends on this interface\n"
	"  --destination-mac MAC    the next hop, or the host itself\n"
	"  --source-mac MAC         default: the interface's own\n"
	"  --destination ADDRESS    IPv4 or IPv6\n"
	"  --port PORT              of UDP and TCP\n"
	"  --protocol P             udp (default), tcp-syn or icmp\n"
	"  --sources PREFIX         where users are: an IPv6 prefix shorter than /64 gives each a /64\n"
	"  --users N                default 1\n"
	"  --distribution D         uniform (default), zipf, sequence, or unique: no address twice while there are "
	"others\n"
	"  --size BYTES             of a frame without FCS, 60 to 1500; default 64, or what the headers need\n"
	"  --payload HEX            bytes behind the headers, as hexadecimal digits\n"
	"  --rate PPS               packets a second; 0 (default): flat out\n"
	"  --count N                ends after N packets (at most 100G)\n"
	"  --seconds S              ends after S seconds (at most 3600)\n"
	"  --vlan ID                tags frames, 1 to 4094\n"
	"  --pcap FILE              sends a recording instead, once, or over and over up to --count or --seconds\n"
	"  --attach-pass NAME       meanwhile lets a veth take XDP frames; without --interface does only that\n"
	"  --seed N                 another order of users; default 1\n"
	"  --json                   the summary as JSON\n";

/* What the command line says. NULL and 0: it does not. */
struct request {
	const char *text[OPTIONS];
	struct frame_spec spec;
	struct prefix prefix;
	struct sources sources; /* owned */
	enum spread_distribution distribution;
	uint64_t number[OPTIONS];
};

static volatile sig_atomic_t stopped;

static void stop(int signal_number)
{
	(void)signal_number;
	stopped = 1;
}

static void catch_signals(void)
{
	/* Without SA_RESTART: a sleeping engine is to wake. */
	struct sigaction action = {.sa_handler = stop};

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

static const struct {
	enum option_id id;
	const char *what;
	double least, most, otherwise;
} numbers[] = {
	{OPTION_PORT, "port", 0, 65535, 0},
	{OPTION_USERS, "users", 1, 4294967295.0, 1},
	{OPTION_SIZE, "size", FRAME_BYTES_MIN, FRAME_BYTES_MAX, 0},
	{OPTION_RATE, "rate", 0, 1e9, 0},
	{OPTION_COUNT, "count", 1, TRAFFIC_COUNT_MAX, TRAFFIC_COUNT_MAX},
	{OPTION_VLAN, "vlan", 1, 4094, 0},
	{OPTION_SEED, "seed", 0, 1e15, 1},
};

static int parse_numbers(struct request *request, struct error *err)
{
	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
		const char *text = request->text[numbers[i].id];
		double value = numbers[i].otherwise;
		int code = text ? units_parse_count(text, &value, err) : 0;

		if (code < 0)
			return error_prefix(err, code, "%s", numbers[i].what);
		if (text && (value < numbers[i].least || value > numbers[i].most || value != floor(value)))
			return error_set(err, -EINVAL, "%s %s: out of range: give a whole number from %.0f to %.0f",
			                 numbers[i].what, text, numbers[i].least, numbers[i].most);
		request->number[numbers[i].id] = (uint64_t)value;
	}
	return 0;
}

/* Seconds may have parts: --seconds 0.5. */
static int parse_seconds(struct request *request, struct error *err)
{
	const char *text = request->text[OPTION_SECONDS];
	double seconds = TRAFFIC_SECONDS_MAX;
	int code = text ? units_parse_count(text, &seconds, err) : 0;

	if (code < 0)
		return error_prefix(err, code, "seconds");
	if (seconds <= 0 || seconds > TRAFFIC_SECONDS_MAX)
		return error_set(err, -EINVAL, "seconds %s: out of range: give more than 0, up to %d", text,
		                 TRAFFIC_SECONDS_MAX);
	request->number[OPTION_SECONDS] = (uint64_t)(seconds * (double)NS_PER_S);
	return 0;
}

static int parse_mac(const char *text, uint8_t out[6], struct error *err)
{
	struct ether_addr mac;

	if (!ether_aton_r(text, &mac))
		return error_set(err, -EINVAL, "MAC address '%s': cannot be read: write it as 02:00:00:00:00:01", text);
	memcpy(out, mac.ether_addr_octet, 6);
	return 0;
}

static int parse_destination(struct request *request, struct error *err)
{
	const char *text = request->text[OPTION_DESTINATION];
	struct prefix destination;
	int code = prefix_parse(text, &destination, err);

	if (code < 0)
		return error_prefix(err, code, "destination");
	if (destination.length != 128)
		return error_set(err, -EINVAL, "destination %s: not one address: leave out the length", text);
	if (destination.ipv4 != request->prefix.ipv4)
		return error_set(err, -EINVAL, "destination %s: of another family than sources %s: use one for both",
		                 text, request->text[OPTION_SOURCES]);
	memcpy(request->spec.destination, destination.address, sizeof(destination.address));
	request->spec.ipv4 = destination.ipv4;
	return 0;
}

static int parse_names(struct request *request, struct error *err)
{
	const char *protocol = request->text[OPTION_PROTOCOL];
	const char *distribution = request->text[OPTION_DISTRIBUTION];
	int code = protocol ? frame_parse_protocol(protocol, &request->spec.protocol, err) : 0;

	if (code == 0 && distribution)
		code = sources_parse_distribution(distribution, &request->distribution, err);
	if (code == 0 && request->text[OPTION_SOURCE_MAC])
		code = parse_mac(request->text[OPTION_SOURCE_MAC], request->spec.source_mac, err);
	if (code == 0)
		code = parse_mac(request->text[OPTION_DESTINATION_MAC], request->spec.destination_mac, err);
	return code;
}

static void request_release(struct request *request)
{
	sources_release(&request->sources);
}

/* Whether frames and users can be had as asked. The frame is built again when the interface's address is known. */
static int parse_shape(struct request *request, struct error *err)
{
	struct frame frame;
	int code;

	request->spec.port = (uint16_t)request->number[OPTION_PORT];
	request->spec.vlan = (uint16_t)request->number[OPTION_VLAN];
	request->spec.bytes = (uint16_t)request->number[OPTION_SIZE];
	code = request->text[OPTION_PAYLOAD] ? frame_parse_payload(request->text[OPTION_PAYLOAD], &request->spec, err)
	                                     : 0;
	if (code < 0)
		return code;
	if (request->spec.protocol != FRAME_ICMP && request->spec.port == 0)
		return error_set(err, -EINVAL, "--port: missing: udp and tcp-syn need one, 1 to 65535");
	code = frame_build(&request->spec, &frame, err);
	if (code < 0)
		return code;
	return sources_init(&request->prefix, (uint32_t)request->number[OPTION_USERS], request->distribution,
	                    request->number[OPTION_SEED], &request->sources, err);
}

/* What made-up frames need; a recording has it all. */
static int parse_frame(struct request *request, struct error *err)
{
	static const enum option_id needed[] = {OPTION_DESTINATION_MAC, OPTION_DESTINATION, OPTION_SOURCES};

	for (size_t i = 0; i < sizeof(needed) / sizeof(*needed); i++) {
		if (!request->text[needed[i]])
			return error_set(err, -EINVAL, "--%s: missing: give it, or a recording with --pcap",
			                 long_options[needed[i]].name);
	}

	int code = prefix_parse(request->text[OPTION_SOURCES], &request->prefix, err);

	if (code < 0)
		return error_prefix(err, code, "sources");
	code = parse_destination(request, err);
	if (code == 0)
		code = parse_names(request, err);
	return code < 0 ? code : parse_shape(request, err);
}

static int parse_request(struct request *request, struct error *err)
{
	bool bounded = request->text[OPTION_COUNT] || request->text[OPTION_SECONDS];
	int code = parse_numbers(request, err);

	if (code == 0)
		code = parse_seconds(request, err);
	if (code < 0)
		return code;
	if (!request->text[OPTION_INTERFACE] && !request->text[OPTION_ATTACH_PASS])
		return error_set(err, -EINVAL, "--interface: missing: name one that 'ip link' shows");
	if (!bounded && !request->text[OPTION_PCAP])
		return error_set(err, -EINVAL, "--count, --seconds: both missing: traffic needs an end, give one");
	if (!request->text[OPTION_INTERFACE] || request->text[OPTION_PCAP])
		return 0;
	return parse_frame(request, err);
}

static int find_interface(struct request *request, int *ifindex, struct error *err)
{
	const char *name = request->text[OPTION_INTERFACE];
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq query = {0};
	unsigned int found = if_nametoindex(name);

	if (found == 0)
		return error_set(err, -ENODEV, "interface %s: not found: name one that 'ip link' shows here", name);
	memcpy(query.ifr_name, name, strnlen(name, IFNAMSIZ - 1));
	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &query) < 0)
		return error_set(err, -errno, "interface %s: cannot be asked: %s: check 'ip link'", name,
		                 strerror(errno));
	if (!(query.ifr_flags & IFF_UP))
		return error_set(err, -ENETDOWN, "interface %s: is down: 'ip link set %s up'", name, name);
	if (!request->text[OPTION_SOURCE_MAC] && ioctl(fd, SIOCGIFHWADDR, &query) == 0)
		memcpy(request->spec.source_mac, query.ifr_hwaddr.sa_data, 6);
	*ifindex = (int)found;
	return 0;
}

/* Frames of made-up users, for the paced engine. */
struct synthesis {
	const struct frame *frame;
	struct sources *sources;
};

static int synthesis_next(void *context, uint8_t *bytes, uint32_t *length, struct error *err)
{
	struct synthesis *synthesis = context;
	uint8_t address[16];

	(void)err;
	sources_next(synthesis->sources, address);
	memcpy(bytes, synthesis->frame->bytes, synthesis->frame->length);
	frame_set_source(synthesis->frame, bytes, address);
	*length = synthesis->frame->length;
	return 1;
}

DEFINE_CLEANUP(struct capture, capture_close)

static int send_recording(const struct request *request, const struct traffic_plan *plan, struct traffic_result *out,
                          struct error *err)
{
	_cleanup_(capture_closep) struct capture *capture = NULL;
	bool repeat = request->text[OPTION_COUNT] || request->text[OPTION_SECONDS];
	int code = capture_open(request->text[OPTION_PCAP], repeat, &capture, err);

	if (code < 0)
		return code;
	return paced_run(plan, &(struct traffic_stream){.next = capture_next, .context = capture}, out, err);
}

static int send_made_up(struct request *request, const struct traffic_plan *plan, struct traffic_result *out,
                        struct error *err)
{
	struct frame frame;
	int code = frame_build(&request->spec, &frame, err);

	if (code < 0)
		return code;
	if (plan->rate_pps == 0 || plan->rate_pps > TRAFFIC_PACED_PPS_MAX)
		return live_run(plan, &frame, &request->sources, out, err);

	struct synthesis synthesis = {.frame = &frame, .sources = &request->sources};

	return paced_run(plan, &(struct traffic_stream){.next = synthesis_next, .context = &synthesis}, out, err);
}

/* Only holds the program of --attach-pass. */
static void wait_out(uint64_t duration_ns, struct traffic_result *out)
{
	uint64_t start_ns = traffic_now_ns();
	uint64_t end_ns = start_ns + duration_ns;
	struct timespec end = {.tv_sec = (time_t)(end_ns / NS_PER_S), .tv_nsec = (long)(end_ns % NS_PER_S)};

	while (!stopped && clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL) == EINTR)
		continue;
	*out = (struct traffic_result){.elapsed_ns = traffic_now_ns() - start_ns, .engine = "none"};
}

static int run(struct request *request, struct traffic_result *out, struct error *err)
{
	const char *pass = request->text[OPTION_ATTACH_PASS];
	_cleanup_close_ int link = pass ? live_attach_pass(pass, err) : -1;
	struct traffic_plan plan = {
		.interface = request->text[OPTION_INTERFACE],
		.rate_pps = request->number[OPTION_RATE],
		.count = request->number[OPTION_COUNT],
		.duration_ns = request->number[OPTION_SECONDS],
		.stop = &stopped,
	};

	if (pass && link < 0)
		return link;
	if (!plan.interface) {
		wait_out(plan.duration_ns, out);
		return 0;
	}

	int code = find_interface(request, &plan.ifindex, err);

	if (code < 0)
		return code;
	return request->text[OPTION_PCAP] ? send_recording(request, &plan, out, err)
	                                  : send_made_up(request, &plan, out, err);
}

static int print_json(const struct traffic_result *result, double seconds, double packets, double bits)
{
	json_t *summary = json_pack("{sI sI sf sf sf sf ss}", "sent", (json_int_t)result->sent, "failed",
	                            (json_int_t)result->failed, "monotonic_begin_seconds",
	                            (double)result->begin_ns / (double)NS_PER_S, "seconds", seconds,
	                            "packets_per_second", packets, "bits_per_second", bits, "engine", result->engine);
	int code = summary ? json_dumpf(summary, stdout, JSON_REAL_PRECISION(12)) : -1;

	json_decref(summary);
	return code < 0 || putchar('\n') == EOF ? -EIO : 0;
}

static int print_summary(const struct traffic_result *result, bool json, struct error *err)
{
	double seconds = (double)result->elapsed_ns / (double)NS_PER_S;
	double packets = seconds > 0 ? (double)result->sent / seconds : 0;
	double bits = seconds > 0 ? (double)result->bytes * 8 / seconds : 0;
	char packets_text[UNITS_TEXT_MAX], bits_text[UNITS_TEXT_MAX];
	int code = 0;

	units_format_count(packets, packets_text, sizeof(packets_text));
	units_format_count(bits, bits_text, sizeof(bits_text));
	if (json)
		code = print_json(result, seconds, packets, bits);
	else if (printf("sent %" PRIu64 " packets in %.3f s, failed %" PRIu64 ": %s packets/s, %s bit/s (%s)\n",
	                result->sent, seconds, result->failed, packets_text, bits_text, result->engine) < 0)
		code = -EIO;
	if (code < 0 || fflush(stdout) == EOF)
		return error_set(err, -EIO, "summary: cannot be written: %s: check standard output", strerror(errno));
	return 0;
}

/* Takes the words of the command line. Returns 0, or -EINVAL with words. */
static int read_options(int argc, char **argv, struct request *request, struct error *err)
{
	opterr = 0;
	for (int id; (id = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
		if (id < 0 || id >= OPTIONS)
			return error_set(err, -EINVAL, "option '%s': unknown, or lacks or has a value: see --help",
			                 argv[optind - 1]);
		request->text[id] = optarg ? optarg : "";
	}
	if (optind < argc)
		return error_set(err, -EINVAL, "argument '%s': unexpected: see --help", argv[optind]);
	return 0;
}

static int fail(const struct error *err, int status)
{
	fprintf(stderr, "spillway-traffic: %s\n", err->text);
	return status;
}

int main(int argc, char **argv)
{
	_cleanup_(request_release) struct request request = {0};
	struct traffic_result result;
	struct error err;

	if (read_options(argc, argv, &request, &err) < 0)
		return fail(&err, 2);
	if (request.text[OPTION_HELP])
		return fputs(usage, stdout) == EOF;
	if (parse_request(&request, &err) < 0)
		return fail(&err, 2);
	catch_signals();
	if (run(&request, &result, &err) < 0 || print_summary(&result, request.text[OPTION_JSON] != NULL, &err) < 0)
		return fail(&err, 1);
	return 0;
}
