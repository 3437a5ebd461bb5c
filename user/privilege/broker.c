/* SPDX-License-Identifier: GPL-2.0-only */
#include "privilege/broker.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "datapath/keeper.h"
#include "privilege/protections.h"

#define PROCESS_NAME "spillway-broker" /* as long as the kernel keeps */

enum request_kind {
	REQUEST_CONFIG, /* answered by a descriptor */
	REQUEST_FILE,   /* `name`; the same */
	REQUEST_GROUP,  /* `name`; answered by `group` */
	REQUEST_ORDER,  /* `order`; answered by a struct keeper_answer and descriptors */
	REQUESTS,
};

struct request {
	uint32_t kind; /* enum request_kind */
	union {
		char name[PATH_MAX];
		struct keeper_order order;
	};
};

struct reply {
	int32_t result; /* 0 or -errno */
	uint32_t group;
};

struct broker {
	int socket;
	pid_t process;
};

/* Messages --------------------------------------------------------------------------------------------------------- */

/* Sends one message with descriptors, which stay the caller's. */
static int message_send(int socket, const void *bytes, size_t size, const int *fds, size_t count)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(KEEPER_OBJECTS * sizeof(int))];
	} control = {0};
	struct iovec vector = {(void *)(uintptr_t)bytes, size};
	struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};

	if (count) {
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(count * sizeof(int));
		struct cmsghdr *header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(header), fds, count * sizeof(int));
	}
	for (;;) {
		ssize_t sent = sendmsg(socket, &message, MSG_NOSIGNAL);
		if (sent >= 0)
			return (size_t)sent == size ? 0 : -EMSGSIZE;
		if (errno != EINTR)
			return -errno;
	}
}

/* Takes one message and at most KEEPER_OBJECTS descriptors. Returns its size, 0 where the other end is gone, or
 * -errno. */
static ssize_t message_receive(int socket, void *bytes, size_t size, int fds[KEEPER_OBJECTS], size_t *count)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(KEEPER_OBJECTS * sizeof(int))];
	} control;
	struct iovec vector = {bytes, size};
	struct msghdr message = {
		.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	ssize_t received;

	*count = 0;
	do
		received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
	while (received < 0 && errno == EINTR);
	if (received < 0)
		return -errno;
	const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
		*count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(header), *count * sizeof(int));
	}
	return message.msg_flags & MSG_TRUNC ? -EMSGSIZE : received;
}

/* The privileged process ------------------------------------------------------------------------------------------- */

static int reply_with(int socket, int result, uint32_t group, int fd)
{
	struct reply reply = {.result = result, .group = group};

	return message_send(socket, &reply, sizeof(reply), &fd, fd >= 0);
}

static int serve_config(int socket, const char *config_path)
{
	_cleanup_close_ int fd = config_path ? open(config_path, O_RDONLY | O_CLOEXEC | O_NOCTTY) : -1;

	return reply_with(socket, fd >= 0 ? 0 : config_path ? -errno : -ENOENT, 0, fd);
}

/* A name below the directory, whatever links there are in it: nothing outside is to be had by asking here. */
static int open_below(const char *config_path, const char *name)
{
	struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NOCTTY, .resolve = RESOLVE_BENEATH};
	char directory[PATH_MAX] = ".";
	const char *slash = strrchr(config_path, '/');

	if (slash)
		snprintf(directory, sizeof(directory), "%.*s", (int)(slash - config_path) + 1, config_path);
	size_t length = slash ? strlen(directory) : 0;
	if (length && strncmp(name, directory, length) == 0)
		name += length + strspn(name + length, "/");
	else if (name[0] == '/')
		return -EXDEV;
	_cleanup_close_ int below = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (below < 0)
		return -errno;
	int fd = (int)syscall(SYS_openat2, below, name, &how, sizeof(how));
	return fd < 0 ? -errno : fd;
}

static int serve_file(int socket, const char *config_path, const char *name)
{
	int opened = config_path ? open_below(config_path, name) : -ENOENT;
	_cleanup_close_ int fd = opened < 0 ? -1 : opened;

	return reply_with(socket, opened < 0 ? opened : 0, 0, fd);
}

static int serve_group(int socket, const char *name)
{
	char *end, words[4096];
	unsigned long number = strtoul(name, &end, 10);
	struct group entry, *group = NULL;

	if (*name && !*end && number < UINT32_MAX)
		return reply_with(socket, 0, (uint32_t)number, -1);
	getgrnam_r(name, &entry, words, sizeof(words), &group);
	return reply_with(socket, group ? 0 : -ENOENT, group ? group->gr_gid : 0, -1);
}

static int serve_order(int socket, struct keeper *keeper, const struct keeper_order *order)
{
	struct keeper_answer *answer _cleanup_free_ = calloc(1, sizeof(*answer));
	if (!answer)
		return -ENOMEM;

	keeper_execute(keeper, order, answer);
	int failure = message_send(socket, answer, sizeof(*answer), answer->fds, answer->fds_count);
	for (uint32_t i = 0; i < answer->fds_count; i++)
		close(answer->fds[i]);
	return failure;
}

/* What comes is believed no further than its size and its zeros: the other end may have been taken over. */
static int serve_one(int socket, struct keeper *keeper, const char *config_path, const struct request *request,
                     size_t size)
{
	if (size != sizeof(*request) || request->kind >= REQUESTS)
		return -EBADMSG;
	if (request->kind == REQUEST_ORDER)
		return serve_order(socket, keeper, &request->order);
	if (request->kind == REQUEST_CONFIG)
		return serve_config(socket, config_path);
	if (!memchr(request->name, '\0', sizeof(request->name)))
		return -EBADMSG;
	return request->kind == REQUEST_FILE ? serve_file(socket, config_path, request->name)
	                                     : serve_group(socket, request->name);
}

static void serve(int socket, struct keeper *keeper, const char *config_path)
{
	struct request *request _cleanup_free_ = calloc(1, sizeof(*request));
	int fds[KEEPER_OBJECTS], failure = request ? 0 : -ENOMEM;
	size_t count;

	while (!failure) {
		ssize_t size = message_receive(socket, request, sizeof(*request), fds, &count);
		for (size_t i = 0; i < count; i++) /* nobody sends any */
			close(fds[i]);
		if (size <= 0)
			return;
		failure = serve_one(socket, keeper, config_path, request, (size_t)size);
	}
}

/* Stopping is the daemon's to decide: what a terminal or a service manager says to both of them is for it. */
__attribute__((noreturn)) static void run(int socket, pid_t daemon, const char *config_path, const char *pins)
{
	_cleanup_(keeper_freep) struct keeper *keeper = keeper_new(pins, false);

	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_NAME, PROCESS_NAME, 0, 0, 0);
	protections_keep_rights();
	protections_limit_keeper_syscalls();
	/* Not even what is under way outlives the daemon: the next one is to find the pins free. */
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (keeper && getppid() == daemon)
		serve(socket, keeper, config_path);
	keeper_free(TAKE_PTR(keeper));
	exit(EXIT_SUCCESS);
}

/* The daemon ------------------------------------------------------------------------------------------------------- */

int broker_start(struct broker **out, const char *config_path, const char *pins, struct error *err)
{
	struct broker *broker _cleanup_free_ = calloc(1, sizeof(*broker));
	pid_t daemon = getpid();
	int sockets[2];

	if (!broker || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
		return error_set(err, -errno, "privileged part: no sockets to speak with it: %s", strerror(errno));
	broker->process = fork();
	if (broker->process == 0) {
		close(sockets[0]);
		free(TAKE_PTR(broker));
		run(sockets[1], daemon, config_path, pins);
	}
	close(sockets[1]);
	if (broker->process < 0) {
		close(sockets[0]);
		return error_set(err, -errno, "privileged part: cannot start it: %s", strerror(errno));
	}
	broker->socket = sockets[0];
	*out = TAKE_PTR(broker);
	return 0;
}

void broker_free(struct broker *broker)
{
	close(broker->socket);
	while (waitpid(broker->process, NULL, 0) < 0 && errno == EINTR)
		;
	free(broker);
}

/* Sends a request and waits for what comes back, of exactly `size` bytes. */
static int ask(struct broker *broker, const struct request *request, void *reply, size_t size, int fds[KEEPER_OBJECTS],
               size_t *count)
{
	int failure = message_send(broker->socket, request, sizeof(*request), NULL, 0);
	if (failure)
		return failure == -ECONNRESET ? -EPIPE : failure;
	ssize_t received = message_receive(broker->socket, reply, size, fds, count);
	if (received == (ssize_t)size)
		return 0;
	while (*count)
		close(fds[--*count]);
	return received < 0 && received != -ECONNRESET ? (int)received : -EPIPE;
}

/* What is answered by a descriptor, or by nothing but a number. */
static int ask_simply(struct broker *broker, enum request_kind kind, const char *name, struct reply *reply, int *fd)
{
	struct request *request _cleanup_free_ = calloc(1, sizeof(*request));
	int fds[KEEPER_OBJECTS];
	size_t count;
	if (!request)
		return -ENOMEM;

	request->kind = kind;
	if (name && strlen(name) >= sizeof(request->name))
		return -ENAMETOOLONG;
	if (name)
		memcpy(request->name, name, strlen(name) + 1);
	int failure = ask(broker, request, reply, sizeof(*reply), fds, &count);
	if (failure)
		return failure;
	*fd = count == 1 ? fds[0] : -1;
	return reply->result;
}

int broker_open(struct broker *broker, const char *path)
{
	struct reply reply;
	int fd;

	int failure = ask_simply(broker, path ? REQUEST_FILE : REQUEST_CONFIG, path, &reply, &fd);
	return failure ? failure : fd;
}

int broker_group(struct broker *broker, const char *name, gid_t *out)
{
	struct reply reply;
	int fd;

	int failure = ask_simply(broker, REQUEST_GROUP, name, &reply, &fd);
	if (!failure)
		*out = reply.group;
	return failure;
}

static void execute_there(void *argument, const struct keeper_order *order, struct keeper_answer *answer)
{
	struct request *request _cleanup_free_ = calloc(1, sizeof(*request));
	struct keeper_view view = answer->view;
	int fds[KEEPER_OBJECTS], failure = -ENOMEM;
	size_t count = 0;

	if (request) {
		request->kind = REQUEST_ORDER;
		request->order = *order;
		failure = ask(argument, request, answer, sizeof(*answer), fds, &count);
	}
	if (failure) { /* what was known of it is all that there is */
		*answer = (struct keeper_answer){.view = view};
		answer->result =
			error_set(&answer->why, failure,
		                  "the privileged part does not answer: %s: start spillway again", strerror(-failure));
		return;
	}
	answer->fds_count = (uint32_t)count;
	memcpy(answer->fds, fds, count * sizeof(*fds));
}

struct datapath_keeper broker_keeper(struct broker *broker)
{
	return (struct datapath_keeper){execute_there, broker};
}

int broker_descriptor(const struct broker *broker)
{
	return broker->socket;
}

pid_t broker_process(const struct broker *broker)
{
	return broker->process;
}
