/**
 * Preloaded into user-mode Linux: ptrace(2) as its 6.1 expects it, on processors with a larger register
 * file than it knows. UML writes the registers of a process back with PTRACE_SETREGSET from a buffer
 * whose size it takes from what it read in a stub at boot; where AMX makes the XSAVE area larger than
 * that, the kernel refuses anything but the whole, and the guest panics with "ptrace set fp regs
 * failed". Here what UML gives is laid over the whole that the process has now, and all of it is written.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define NT_X86_XSTATE 0x202

static char registers[65536] __attribute__((aligned(64)));

static long call(long request, pid_t pid, void *address, void *data) {
  return syscall(SYS_ptrace, request, pid, address, data);
}

static long set_registers(pid_t pid, void *kind, struct iovec *given) {
  struct iovec whole = {registers, sizeof registers};
  if (call(PTRACE_GETREGSET, pid, kind, &whole) < 0) return -1;
  if (whole.iov_len <= given->iov_len) return call(PTRACE_SETREGSET, pid, kind, given);
  memcpy(registers, given->iov_base, given->iov_len);
  return call(PTRACE_SETREGSET, pid, kind, &whole);
}

long ptrace(enum __ptrace_request request, ...) {
  va_list arguments;
  va_start(arguments, request);
  pid_t pid = va_arg(arguments, pid_t);
  void *address = va_arg(arguments, void *);
  void *data = va_arg(arguments, void *);
  va_end(arguments);
  if (request == PTRACE_SETREGSET && address == (void *)NT_X86_XSTATE) {
    return set_registers(pid, address, data);
  }
  if (request != PTRACE_PEEKTEXT && request != PTRACE_PEEKDATA && request != PTRACE_PEEKUSER) {
    return call(request, pid, address, data);
  }
  long word; // the kernel stores it, the library returns it
  if (call(request, pid, address, &word) < 0) return -1;
  errno = 0;
  return word;
}
