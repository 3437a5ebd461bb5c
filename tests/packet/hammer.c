/* SPDX-License-Identifier: GPL-2.0-only */
#include "packet/hammer.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void shot_load(struct shot *shot, const char *words, unsigned repeat)
{
	shot->length = frame_write_padded(words, shot->frame);
	shot->repeat = repeat;
}

/* The CPU that hammer `number` gets: the first that this process may use goes to the first, and so on. */
static int choose_cpu(int number)
{
	cpu_set_t usable;
	int first = -1;

	sched_getaffinity(0, sizeof(usable), &usable);
	for (int cpu = 0, seen = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &usable))
			continue;
		if (seen++ == number)
			return cpu;
		if (first < 0)
			first = cpu;
	}
	return first;
}

/* Where who started this thread comes before other work of the machine, so does it, but behind that one: who watches
 * it must not wait for its turn. */
static void step_behind(void)
{
	struct sched_param param;
	int policy;

	if (pthread_getschedparam(pthread_self(), &policy, &param) || policy != SCHED_RR || param.sched_priority < 2)
		return;
	param.sched_priority--;
	if (pthread_setschedparam(pthread_self(), policy, &param)) {
		fprintf(stderr, "hammer: cannot lower its priority\n");
		exit(2);
	}
}

static void *hammer(void *context)
{
	struct hammer *self = context;
	cpu_set_t pinned;

	step_behind();
	CPU_ZERO(&pinned);
	CPU_SET(self->cpu, &pinned);
	if (pthread_setaffinity_np(pthread_self(), sizeof(pinned), &pinned)) {
		fprintf(stderr, "hammer: cannot be pinned to CPU %d\n", self->cpu);
		exit(2);
	}
	for (unsigned round = 0; !self->stop && (!self->rounds || round < self->rounds); round++) {
		for (size_t i = 0; i < self->count && !self->stop; i++) {
			const struct shot *shot = &self->shots[i];
			world_run(self->world, shot->frame, shot->length, shot->repeat);
			self->packets += shot->repeat;
			self->bytes += shot->repeat * shot->length;
		}
	}
	return NULL;
}

void hammers_start(struct hammer *hammers, int threads, struct world *world, const struct shot *shots, size_t count,
                   unsigned rounds)
{
	for (int number = 0; number < threads; number++) {
		hammers[number] = (struct hammer){
			.world = world, .shots = shots, .count = count, .rounds = rounds, .cpu = choose_cpu(number)};
		int failure = pthread_create(&hammers[number].thread, NULL, hammer, &hammers[number]);
		if (failure) {
			fprintf(stderr, "hammer: cannot start: %s\n", strerror(failure));
			exit(2);
		}
	}
}

void hammers_end(struct hammer *hammers, int threads)
{
	for (int number = 0; number < threads; number++) {
		if (!hammers[number].rounds)
			hammers[number].stop = true;
		pthread_join(hammers[number].thread, NULL);
	}
}
