/**
 * uml_shut DIRECTORY COMMAND ARGUMENTS...: makes every mount read-only but DIRECTORY and a fresh /dev/shm,
 * then becomes COMMAND. For a mount namespace of its own, see unshare(1). Root of the guest is root of
 * these files, and may remount its own view of them as it likes: what the host has shut stays shut.
 * mount_setattr(2) does it to all mounts at once or to none.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/types.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#define READ_ONLY 1 /* MOUNT_ATTR_RDONLY */

static struct attributes { __u64 set, clear, propagation, user; } shut = {.set = READ_ONLY},
                                                                  open_ = {.clear = READ_ONLY};

static int fails(const char *what) {
  perror(what);
  return 125;
}

int main(int count, char **arguments) {
  if (count < 3) return 125;
  const char *directory = arguments[1];
  if (mount(directory, directory, NULL, MS_BIND, NULL) < 0) return fails(directory);
  if (syscall(SYS_mount_setattr, -1, "/", AT_RECURSIVE, &shut, sizeof shut) < 0) return fails("/");
  if (syscall(SYS_mount_setattr, -1, directory, 0, &open_, sizeof open_) < 0) return fails(directory);
  if (mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0700,size=3g") < 0) {
    return fails("/dev/shm");
  }
  execvp(arguments[2], arguments + 2);
  return fails(arguments[2]);
}
