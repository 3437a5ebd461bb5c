/* SPDX-License-Identifier: GPL-2.0-only */
/* Preloaded, makes bpf(2) refuse what a kernel before 5.18 refuses: a program for frames in several buffers, and
 * (before 5.19) a map of larger values than are allocated in one piece. */
#include <dlfcn.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdarg.h>
#include <sys/syscall.h>

#define VALUE_BYTES_MAX (4U << 20) /* KMALLOC_MAX_SIZE */

long syscall(long number, ...);

long syscall(long number, ...)
{
	static long (*next)(long number, ...);
	const union bpf_attr *attributes;
	long a[6];
	va_list arguments;

	va_start(arguments, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(arguments, long);
	va_end(arguments);
	attributes = (const union bpf_attr *)a[1];
	if (number == SYS_bpf && a[0] == BPF_PROG_LOAD && attributes->prog_flags & BPF_F_XDP_HAS_FRAGS) {
		errno = EINVAL;
		return -1;
	}
	if (number == SYS_bpf && a[0] == BPF_MAP_CREATE && attributes->value_size > VALUE_BYTES_MAX) {
		errno = E2BIG;
		return -1;
	}
	if (!next)
		*(void **)&next = dlsym(RTLD_NEXT, "syscall");
	return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
