/* SPDX-License-Identifier: GPL-2.0-only */
/* Preloaded, makes bpf(2) refuse what a kernel before 5.18 refuses: a program for frames in several buffers. */
#include <errno.h>
#include <linux/bpf.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

long syscall(long number, ...)
{
	const union bpf_attr *attr;
	long a[6];
	long result;
	va_list arguments;

	va_start(arguments, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(arguments, long);
	va_end(arguments);
	attr = (const union bpf_attr *)a[1];
	if (number == SYS_bpf && a[0] == BPF_PROG_LOAD && attr->prog_flags & BPF_F_XDP_HAS_FRAGS) {
		errno = EINVAL;
		return -1;
	}
	register long r10 asm("r10") = a[3];
	register long r8 asm("r8") = a[4];
	register long r9 asm("r9") = a[5];
	asm volatile("syscall"
	             : "=a"(result)
	             : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
	             : "rcx", "r11", "memory");
	if (result >= 0)
		return result;
	errno = (int)-result;
	return -1;
}
