/* SPDX-License-Identifier: GPL-2.0-only */
/* Life cycle: start, tick, reload, stop. */
#include "daemon/daemon.h"

#include <assert.h>
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "control/batching.h"
#include "daemon/adaptive.h"
#include "daemon/hotspots.h"
#include "daemon/interfaces.h"
#include "daemon/lists.h"
#include "daemon/peers.h"
#include "daemon/recorder.h"
#include "daemon/server.h"
#include "daemon/silences.h"
#include "daemon/telling.h"
#include "datapath/image.h"
#include "datapath/lists.h"
#include "privilege/broker.h"

double daemon_clock_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

const struct config_service *daemon_service(const struct daemon *daemon, const char *name)
{
	for (size_t i = 0; i < daemon->config->services_count; i++)
		if (strcmp(daemon->config->services[i].name, name) == 0)
			return &daemon->config->services[i];
	return NULL;
}

/* The configuration's files are opened by who may. */
static int open_config(void *argument, const char *path)
{
	struct daemon *daemon = argument;
	bool own = strcmp(path, daemon->options.config_path) == 0;

	return broker_open(daemon->broker, own ? NULL : path);
}

/* Reads the file and lays the command line over it. */
static int read_config(struct daemon *daemon, struct config **out, struct error *err)
{
	const struct daemon_options *options = &daemon->options;
	const struct config_opener opener = {open_config, daemon};
	static const char nothing[] = "services: []\n";
	struct config_faults *faults _cleanup_free_ = calloc(1, sizeof(*faults));
	struct config *config;
	if (!faults)
		return error_set(err, -ENOMEM, "configuration: no memory");

	int failure = options->config_path ? config_load_by(&opener, options->config_path, &config, faults)
	                                   : config_parse(nothing, sizeof(nothing) - 1, &config, faults);
	if (failure) {
		size_t written = 0;
		for (size_t i = 0; i < faults->count && i < CONFIG_FAULTS_MAX && written < sizeof(err->text) - 1; i++) {
			char line[512];
			config_fault_format(options->config_path, &faults->faults[i], line, sizeof(line));
			written += (size_t)snprintf(err->text + written, sizeof(err->text) - written, "%s%s",
			                            i ? "\n" : "", line);
		}
		return failure;
	}
	if (options->interface) {
		config->interfaces_count = 1;
		snprintf(config->interfaces[0], sizeof(config->interfaces[0]), "%s", options->interface);
	}
	if (options->observe) {
		config->mode = CONFIG_OBSERVE;
		for (size_t i = 0; i < config->services_count; i++)
			config->services[i].mode = CONFIG_OBSERVE;
	}
	if (!config->interfaces_count) {
		config_free(config);
		return error_set(err, -EINVAL, "no interface: name one with --interface, or under 'interfaces:'");
	}
	*out = config;
	return 0;
}

static void override_lay(const struct override *override, struct config_service *service)
{
	if (override->has_mode)
		service->mode = override->mode;
	if (override->has_class)
		service->class = override->class;
	if (override->has_capacity) {
		service->capacity_pps = override->capacity_pps;
		service->capacity_held = true;
	}
	if (override->has_level) {
		struct config_pace *pace = service->adaptive.bytes ? &service->limit.bytes : &service->limit.packets;
		service->level_held = true;
		double seconds = pace->per_second > 0 ? pace->burst / pace->per_second : 0.1;
		pace->per_second = override->level_pps;
		pace->burst = override->level_pps * seconds;
	}
}

/* The configuration as it is in force: the file's with the overrides laid over it. */
static int apply(struct daemon *daemon, struct config *config, struct error *err)
{
	_cleanup_free_ struct config_service *services = calloc(config->services_count + 1, sizeof(*config->services));
	struct config effective = *config;
	if (!services)
		return error_set(err, -ENOMEM, "configuration: no memory");

	if (config->services_count)
		memcpy(services, config->services, config->services_count * sizeof(*services));
	effective.services = services;
	for (size_t i = 0; i < daemon->overrides_count; i++) {
		for (size_t j = 0; j < config->services_count; j++)
			if (strcmp(services[j].name, daemon->overrides[i].service) == 0)
				override_lay(&daemon->overrides[i], &services[j]);
	}
	return datapath_apply(daemon->datapath, &effective, err);
}

static void detach_unconfigured(struct daemon *daemon, const struct config *config)
{
	size_t count;
	const struct datapath_link *links = datapath_links(daemon->datapath, &count);

	for (size_t i = count; i-- > 0;) {
		bool wanted = false;
		for (size_t j = 0; j < config->interfaces_count; j++)
			wanted |= strcmp(config->interfaces[j], links[i].name) == 0;
		if (!wanted)
			datapath_detach(daemon->datapath, links[i].name);
	}
}

static int attach_all(struct daemon *daemon, const struct config *config, struct error *err)
{
	for (size_t i = 0; i < config->interfaces_count; i++) {
		int failure = datapath_attach(daemon->datapath, config->interfaces[i], err);
		if (failure)
			return failure;
	}
	return 0;
}

static void warn_of_generic(const struct daemon *daemon)
{
	size_t count;
	const struct datapath_link *links = datapath_links(daemon->datapath, &count);

	for (size_t i = 0; i < count; i++)
		if (links[i].index && links[i].generic)
			log_warning("allow_generic: interface %s is attached in generic mode and stays protected so: "
			            "remove it from 'interfaces:' to detach it",
			            links[i].name);
}

/* The directory of the history, as far as one is kept. */
static void history_directory(const struct config *config, char out[CONFIG_HISTORY_PATH_MAX])
{
	const char *path = config->history.path;

	out[0] = '\0';
	if (config->history.on)
		snprintf(out, CONFIG_HISTORY_PATH_MAX, "%.*s", (int)(strrchr(path, '/') - path), path);
}

/* Where it may write was settled when it started. */
static int check_history(const struct daemon *daemon, const struct config *config, struct error *err)
{
	char wanted[CONFIG_HISTORY_PATH_MAX];

	history_directory(config, wanted);
	if (!wanted[0] || strcmp(wanted, daemon->history_directory) == 0 ||
	    !daemon->protections.states[PROTECTION_FILES].on)
		return 0;
	return error_set(err, -EXDEV,
	                 "history: path: %s: this daemon may write %s%s and nothing else, as it was started: start it "
	                 "again ('spillway run --takeover')",
	                 config->history.path, daemon->history_directory[0] ? "in " : "no history",
	                 daemon->history_directory);
}

static int reload(struct daemon *daemon, struct error *err)
{
	struct evhttp_bound_socket *web = NULL;
	struct peers peers;
	struct config *config;
	struct error again;

	int failure = read_config(daemon, &config, err);
	if (failure)
		return failure;
	datapath_allow_generic(daemon->datapath, config->allow_generic);
	failure = check_history(daemon, config, err);
	if (!failure)
		failure = peers_find(daemon->broker, &config->control, &peers, err);
	if (!failure)
		failure = server_open(daemon->server, &config->listen, &web, err);
	if (!failure)
		failure = attach_all(daemon, config, err);
	if (!failure)
		failure = lists_file(daemon->datapath, &config->lists, err);
	bool filed = !failure;
	if (!failure)
		failure = apply(daemon, config, err);
	if (failure) {
		server_abandon(daemon->server, web);
		datapath_allow_generic(daemon->datapath, daemon->config->allow_generic);
		if (filed && lists_file(daemon->datapath, &daemon->config->lists, &again) < 0)
			log_error("%s", again.text);
		detach_unconfigured(daemon, daemon->config);
		config_free(config);
		return failure;
	}
	server_settle(daemon->server, &config->listen, web);
	server_admit(daemon->server, &peers);
	if (config->table_users != daemon->config->table_users)
		log_warning("table.users: the table keeps its size while it is pinned: 'spillway unload' and 'run' "
		            "change it");
	if (config->lists.entries_most != daemon->config->lists.entries_most)
		log_warning("lists.entries: the lists keep their room while they are pinned: 'spillway unload' and "
		            "'run' change it");
	detach_unconfigured(daemon, config);
	if (!config->allow_generic)
		warn_of_generic(daemon);
	config_free(daemon->config);
	daemon->config = config;
	adaptive_follow(daemon->adaptive);
	recorder_reload(daemon->recorder);
	return 0;
}

int daemon_reload(struct daemon *daemon, struct error *err)
{
	struct error refusal;
	int failure = reload(daemon, &refusal);

	tell_reload(daemon, failure ? &refusal : NULL);
	if (failure)
		*err = refusal;
	return failure;
}

/* What a newer override of the same service says is no longer the earlier one's to say. Whether that still says
 * anything. */
static bool override_yields(struct override *earlier, const struct override *newer)
{
	if (strcmp(earlier->service, newer->service) == 0) {
		earlier->has_mode &= !newer->has_mode;
		earlier->has_level &= !newer->has_level;
		earlier->has_capacity &= !newer->has_capacity;
		earlier->has_class &= !newer->has_class;
	}
	return earlier->has_mode || earlier->has_level || earlier->has_capacity || earlier->has_class;
}

int daemon_override(struct daemon *daemon, const struct override *override, struct error *err)
{
	size_t count = daemon->overrides_count, bytes = count * sizeof(daemon->overrides[0]);
	_cleanup_free_ struct override *before = malloc(bytes + 1);

	if (!before)
		return error_set(err, -ENOMEM, "override: no memory");
	memcpy(before, daemon->overrides, bytes);
	daemon->overrides_count = 0;
	for (size_t i = 0; i < count; i++)
		if (override_yields(&daemon->overrides[i], override))
			daemon->overrides[daemon->overrides_count++] = daemon->overrides[i];
	int failure = 0;
	if (daemon->overrides_count == DAEMON_OVERRIDES_MAX)
		failure = error_set(err, -E2BIG, "more than %d overrides: change the configuration instead",
		                    DAEMON_OVERRIDES_MAX);
	else
		daemon->overrides[daemon->overrides_count++] = *override;
	if (!failure)
		failure = apply(daemon, daemon->config, err);
	if (failure) {
		memcpy(daemon->overrides, before, bytes);
		daemon->overrides_count = count;
		return failure;
	}
	tell_override(daemon, override);
	return 0;
}

/* Ends those whose time is over. Where the kernel cannot be told, it is at the next tick. */
static void overrides_drop_lapsed(struct daemon *daemon, double now_s)
{
	size_t kept = 0;
	struct error err;

	for (size_t i = 0; i < daemon->overrides_count; i++) {
		const struct override *override = &daemon->overrides[i];
		if (!override->until_s || override->until_s > now_s)
			daemon->overrides[kept++] = *override;
		else
			tell_override_lapsed(daemon, override);
	}
	daemon->override_lapsed |= kept != daemon->overrides_count;
	daemon->overrides_count = kept;
	if (!daemon->override_lapsed)
		return;
	if (apply(daemon, daemon->config, &err) < 0)
		log_error("%s", err.text);
	else
		daemon->override_lapsed = false;
}

static const struct timeval tick_interval = {.tv_usec = OBSERVER_TICK_MS * 1000L};
static const struct timeval glance_interval = {.tv_usec = 20000};

/* Where nothing comes nobody is woken for it. */
static void watch_between_ticks(const struct daemon *daemon)
{
	if (adaptive_is_watchful(daemon->adaptive))
		event_add(daemon->glance, &glance_interval);
	else
		event_del(daemon->glance);
}

static void on_tick(evutil_socket_t fd, short what, void *argument)
{
	struct daemon *daemon = argument;
	struct error err;
	double now_s = daemon_clock_s();
	(void)fd, (void)what;

	sd_notify(0, "WATCHDOG=1");
	log_tick();
	overrides_drop_lapsed(daemon, now_s);
	if (observer_tick(daemon->observer, now_s, &err) < 0)
		log_error("%s", err.text);
	datapath_batch(daemon->datapath,
	               batching_pays(datapath_batches(daemon->datapath), observer_active(daemon->observer)));
	heat_tick(daemon->heat);
	signals_tick(daemon->signals, now_s);
	adaptive_tick(daemon->adaptive, now_s);
	silences_tick(daemon->silences, now_s);
	recorder_tick(daemon->recorder);
	adaptive_tick_ends(daemon->adaptive, daemon_clock_s());
	watch_between_ticks(daemon);
	if (daemon->aged_s && now_s - daemon->aged_s < DATAPATH_AGE_S)
		return;
	daemon->aged_s = now_s;
	if (datapath_age(daemon->datapath, &err) < 0)
		log_error("%s", err.text);
}

/* A flood that begins after a tick is let in, as far as nothing is known of it, until the next: that one comes at once,
 * and the one after it in its time. */
static void on_glance(evutil_socket_t fd, short what, void *argument)
{
	struct daemon *daemon = argument;

	if (!adaptive_surges(daemon->adaptive, daemon_clock_s()))
		return;
	event_add(daemon->tick, &tick_interval);
	on_tick(fd, what, argument);
}

static void on_reload(evutil_socket_t fd, short what, void *argument)
{
	struct error told; /* as an event */
	(void)fd, (void)what;

	daemon_reload(argument, &told);
}

static void on_stop(evutil_socket_t fd, short what, void *argument)
{
	(void)fd, (void)what;
	daemon_stop(argument);
}

void daemon_stop(struct daemon *daemon)
{
	event_base_loopbreak(daemon->loop);
}

static void announce(const struct daemon *daemon)
{
	struct observed_table table = observer_table(daemon->observer);
	size_t count;
	const struct datapath_link *links = datapath_links(daemon->datapath, &count);

	log_notice("%s: room for %zu users, %.1f MiB of kernel memory%s",
	           daemon->config->mode == CONFIG_OBSERVE ? "observing, nothing is dropped" : "enforcing", table.cells,
	           (double)table.bytes / (1 << 20), datapath_adopted(daemon->datapath) ? "; state adopted" : "");
	for (size_t i = 0; i < count; i++)
		tell_interface(daemon, links[i].name, true, links[i].generic,
		               links[i].generic ? "attached in generic mode" : "attached in native mode");
	sd_notify(0, "READY=1");
}

#define WAY_PAUSE_NS 20000000L
#define WAY_TRIES    500 /* ten seconds */

/* Opens the data path; from another daemon, where it is asked to make way. Meanwhile the kernel goes on by the pins. */
static int take_datapath(struct daemon *daemon, const struct datapath_options *options, struct error *err)
{
	int failure = datapath_open(&daemon->datapath, options, err);

	if (failure != -EBUSY || !daemon->options.make_way)
		return failure;
	daemon->options.make_way(daemon->options.socket);
	for (int try = 0; failure == -EBUSY && try < WAY_TRIES; try++) {
		nanosleep(&(struct timespec){.tv_nsec = WAY_PAUSE_NS}, NULL);
		failure = datapath_open(&daemon->datapath, options, err);
	}
	return failure;
}

static int open_datapath(struct daemon *daemon, struct error *err)
{
	struct datapath_options options = {.keeper = broker_keeper(daemon->broker),
	                                   .pins = daemon->options.pins,
	                                   .table_users = daemon->config->table_users,
	                                   .list_entries = daemon->config->lists.entries_most,
	                                   .features = image_features(daemon->config),
	                                   .allow_generic = daemon->config->allow_generic};

	int failure = take_datapath(daemon, &options, err);
	if (!failure)
		failure = lists_file(daemon->datapath, &daemon->config->lists, err);
	if (!failure)
		failure = apply(daemon, daemon->config, err);
	if (!failure)
		failure = attach_all(daemon, daemon->config, err);
	if (failure)
		return failure;
	datapath_drop_strangers(daemon->datapath);
	failure = signals_new(&daemon->signals, daemon->datapath, err);
	if (!failure)
		failure = observer_new(&daemon->observer, daemon->datapath, err);
	if (!failure)
		failure = heat_new(&daemon->heat, daemon, err);
	if (!failure)
		failure = silences_new(&daemon->silences, daemon, err);
	return failure ? failure : adaptive_new(&daemon->adaptive, daemon, err);
}

/* However much is asked of the servers, the tick comes on time: it goes before all else, and nothing else goes on for
 * long without a look at the clock. */
static struct event_base *loop_new(void)
{
	static const struct timeval longest = {.tv_usec = 5000};
	struct event_config *config = event_config_new();
	struct event_base *loop = NULL;

	if (config && event_config_set_max_dispatch_interval(config, &longest, 16, 1) == 0)
		loop = event_base_new_with_config(config);
	if (config)
		event_config_free(config);
	if (loop)
		event_base_priority_init(loop, 2); /* what says nothing has the second */
	return loop;
}

static struct event *timer_new(struct daemon *daemon, const struct timeval *interval, event_callback_fn callback)
{
	struct event *event = event_new(daemon->loop, -1, EV_PERSIST, callback, daemon);

	if (event) {
		event_priority_set(event, 0);
		event_add(event, interval);
	}
	return event;
}

static void timers_free(struct daemon *daemon)
{
	if (daemon->tick)
		event_free(daemon->tick);
	if (daemon->glance)
		event_free(daemon->glance);
}

static int timers_new(struct daemon *daemon, struct error *err)
{
	daemon->tick = timer_new(daemon, &tick_interval, on_tick);
	daemon->glance = timer_new(daemon, &glance_interval, on_glance);
	if (daemon->tick && daemon->glance)
		return 0;
	timers_free(daemon);
	return error_set(err, -ENOMEM, "timers: no memory");
}

static struct event *signal_new(struct daemon *daemon, int number, event_callback_fn callback)
{
	struct event *event = evsignal_new(daemon->loop, number, callback, daemon);

	if (event)
		event_add(event, NULL);
	return event;
}

/* Caught from before the first pin is made: a signal during the start is obeyed when the start is done, so that it
 * leaves a whole state or none. */
static int catch_signals(struct daemon *daemon, struct error *err)
{
	daemon->caught[0] = signal_new(daemon, SIGTERM, on_stop);
	daemon->caught[1] = signal_new(daemon, SIGINT, on_stop);
	daemon->caught[2] = signal_new(daemon, SIGHUP, on_reload);
	for (size_t i = 0; i < sizeof(daemon->caught) / sizeof(*daemon->caught); i++)
		if (!daemon->caught[i])
			return error_set(err, -ENOMEM, "signals: cannot catch them");
	return 0;
}

static void on_broker_gone(evutil_socket_t fd, short what, void *argument)
{
	struct daemon *daemon = argument;
	(void)fd, (void)what;

	log_error("the privileged part, process %d, is gone: the kernel goes on by its pins; this daemon ends, to be "
	          "started "
	          "again",
	          (int)broker_process(daemon->broker));
	daemon->failed = true;
	daemon_stop(daemon);
}

static int watch_broker(struct daemon *daemon, struct error *err)
{
	daemon->broker_gone =
		event_new(daemon->loop, broker_descriptor(daemon->broker), EV_READ, on_broker_gone, daemon);
	if (!daemon->broker_gone || event_add(daemon->broker_gone, NULL) < 0)
		return error_set(err, -ENOMEM, "privileged part: cannot watch it");
	return 0;
}

/* The directory that the socket lies in. */
static void socket_directory(const char *socket, char out[PATH_MAX])
{
	const char *slash = strrchr(socket, '/');

	snprintf(out, PATH_MAX, "%.*s", slash ? (int)(slash - socket) + 1 : 1, slash ? socket : ".");
}

/* Where the history will be: its directory, made where that is all that is missing, or the nearest above it that is
 * there, so that it can be when somebody has made the rest. */
static void history_place(const char *directory, char out[CONFIG_HISTORY_PATH_MAX])
{
	char *slash;

	snprintf(out, CONFIG_HISTORY_PATH_MAX, "%s", directory);
	mkdir(out, 0750);
	while (access(out, F_OK) < 0 && (slash = strrchr(out, '/')) && slash != out)
		*slash = '\0';
}

/* Whatever comes to listen from here on may touch no other file. */
static void limit_files(struct daemon *daemon)
{
	char directory[PATH_MAX], history[CONFIG_HISTORY_PATH_MAX];
	const struct protected_path paths[] = {{.path = directory, .make_sockets = true},
	                                       {.path = history, .make_files = true, .make_directories = true}};

	socket_directory(daemon->options.socket, directory);
	history_directory(daemon->config, daemon->history_directory);
	if (daemon->history_directory[0])
		history_place(daemon->history_directory, history);
	protections_limit_files(&daemon->protections, paths, daemon->history_directory[0] ? 2 : 1);
}

static int serve(struct daemon *daemon, struct error *err)
{
	_cleanup_(server_freep) struct server *server = NULL;
	_cleanup_(interfaces_watch_freep) struct interfaces_watch *watch = NULL;
	_cleanup_(lists_keeper_freep) struct lists_keeper *keeper = NULL;
	_cleanup_(recorder_freep) struct recorder *recorder = NULL;

	int failure = server_new(&server, daemon, err);
	if (!failure)
		failure = interfaces_watch_new(&watch, daemon, err);
	if (!failure)
		failure = lists_keeper_new(&keeper, daemon, err);
	if (!failure)
		failure = recorder_new(&recorder, daemon, err);
	if (!failure)
		failure = timers_new(daemon, err);
	if (failure)
		return failure;
	daemon->server = server;
	daemon->recorder = recorder;
	on_tick(-1, 0, daemon);
	announce(daemon);
	event_base_dispatch(daemon->loop);
	sd_notify(0, "STOPPING=1");
	timers_free(daemon);
	return 0;
}

static int log_events(struct daemon *daemon, struct error *err)
{
	if (events_listen(daemon->events, tell_log, NULL) < 0)
		return error_set(err, -ENOSPC, "events: no room for the log among the listeners");
	return 0;
}

static int start(struct daemon *daemon, bool *kept, struct error *err)
{
	int failure = read_config(daemon, &daemon->config, err);
	if (failure)
		return failure == -EINVAL ? -EBADMSG : failure;
	assert(daemon->config);
	daemon->loop = loop_new();
	if (!daemon->loop)
		return error_set(err, -ENOMEM, "event loop: cannot make one");
	failure = events_new(&daemon->events, err);
	if (!failure)
		failure = log_events(daemon, err);
	if (!failure)
		failure = catch_signals(daemon, err);
	if (!failure)
		failure = watch_broker(daemon, err);
	if (!failure)
		failure = open_datapath(daemon, err);
	if (failure) {
		*kept = daemon->datapath && datapath_adopted(daemon->datapath);
		return failure;
	}
	limit_files(daemon);
	failure = serve(daemon, err);
	*kept = !failure || datapath_adopted(daemon->datapath);
	return failure;
}

/* A service manager has made it; by hand it may be missing. */
static void make_socket_directory(const char *directory, const struct identity *identity)
{
	if (mkdir(directory, 0755) == 0 && identity->change && chown(directory, identity->uid, identity->gid) < 0)
		log_warning("%s: cannot be given to user %s: %s", directory, identity->name, strerror(errno));
}

/* The last that is done as root, but for what the broker does. */
static int give_up_privileges(struct daemon *daemon, struct error *err)
{
	const struct daemon_options *options = &daemon->options;
	char directory[PATH_MAX];
	struct identity identity;

	int failure = identity_find(options->user, &identity, err);
	if (failure)
		return failure;
	socket_directory(options->socket, directory);
	make_socket_directory(directory, &identity);
	if (!options->user)
		failure = identity_suit(&identity, directory, err);
	if (!failure)
		failure = broker_start(&daemon->broker, options->config_path, options->pins, err);
	if (failure)
		return failure;
	protection_is_on(&daemon->protections, PROTECTION_SPLIT,
	                 "what needs capabilities is done by process %d, which listens to nobody else",
	                 (int)broker_process(daemon->broker));
	failure = protections_drop_rights(&daemon->protections, &identity, err);
	if (!failure)
		protections_limit_syscalls(&daemon->protections);
	return failure;
}

int daemon_run(const struct daemon_options *options)
{
	struct daemon daemon = {.options = *options, .started_s = daemon_clock_s()};
	struct utsname name;
	struct error err;
	bool kept = true;

	if (uname(&name) == 0) {
		snprintf(daemon.kernel, sizeof(daemon.kernel), "%s", name.release);
		snprintf(daemon.host, sizeof(daemon.host), "%s", name.nodename);
	}
	signal(SIGPIPE, SIG_IGN);
	/* Texts of megabytes are given back when they have been sent: without this, glibc would keep the heap that they
	 * came from once the first of them has been freed (mallopt(3), the dynamic threshold). */
	mallopt(M_MMAP_THRESHOLD, 256 << 10);
	int failure = give_up_privileges(&daemon, &err);
	if (!failure)
		failure = start(&daemon, &kept, &err);
	if (failure)
		log_error("%s", err.text);

	heat_free(daemon.heat);
	silences_free(daemon.silences);
	adaptive_free(daemon.adaptive);
	observer_free(daemon.observer);
	signals_free(daemon.signals);
	if (!failure && daemon.failed)
		failure = -EPIPE;
	if (daemon.datapath && (!kept || (!failure && daemon.options.detach_on_exit))) {
		if (datapath_remove(daemon.datapath, &err) < 0)
			log_error("%s", err.text);
	} else if (!failure) {
		log_notice("stopped; shedding goes on in the kernel, 'spillway unload' ends it");
	}
	datapath_close(daemon.datapath);
	if (daemon.broker_gone)
		event_free(daemon.broker_gone);
	if (daemon.broker)
		broker_free(daemon.broker);
	for (size_t i = 0; i < sizeof(daemon.caught) / sizeof(*daemon.caught); i++)
		if (daemon.caught[i])
			event_free(daemon.caught[i]);
	if (daemon.loop)
		event_base_free(daemon.loop);
	events_free(daemon.events);
	config_free(daemon.config);
	return failure;
}
