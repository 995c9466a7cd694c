/* Writes down what a process does to the files of one folder, in order, and lets its disk be full or fail. LD_PRELOAD; DISK_FOLDER, DISK_LOG.

   A record of the log: operation (1 byte), length of the name (2), offset (8), length of the data (4), name, data; little-endian.
   w write · t truncate to the offset · s sync of a file · d sync of a folder · u unlink · c create
   While FOLDER/full is there, writes answer ENOSPC; while FOLDER/broken is there, syncs answer EIO. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static int log_fd = -1;
static const char *folder;

__attribute__((constructor)) static void begin(void) {
  folder = getenv("DISK_FOLDER");
  const char *path = getenv("DISK_LOG");
  if (path) log_fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static const char *name_in(const char *path) {
  size_t n = folder ? strlen(folder) : 0;
  if (!n || strncmp(path, folder, n)) return NULL;
  return path[n] == '/' ? path + n + 1 : path[n] ? NULL : "";
}

static const char *name_of(int fd, char *path) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
  if (n < 0) return NULL;
  path[n] = 0;
  return name_in(path);
}

static int there(const char *flag) {
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/%s", folder, flag);
  return syscall(SYS_faccessat, AT_FDCWD, path, F_OK) == 0;
}

static void note(char operation, const char *name, uint64_t offset, const void *data, uint32_t size) {
  unsigned char head[15];
  uint16_t length = (uint16_t)strlen(name);
  head[0] = (unsigned char)operation;
  memcpy(head + 1, &length, 2);
  memcpy(head + 3, &offset, 8);
  memcpy(head + 11, &size, 4);
  struct iovec parts[3] = {{head, 15}, {(void *)name, length}, {(void *)data, size}};
  syscall(SYS_writev, log_fd, parts, 3);
}

static ssize_t put(int fd, const void *data, size_t size, off_t offset) {
  char path[PATH_MAX];
  const char *name = name_of(fd, path);
  if (name && there("full")) { errno = ENOSPC; return -1; }
  ssize_t done = offset < 0 ? syscall(SYS_write, fd, data, size) : syscall(SYS_pwrite64, fd, data, size, offset);
  if (name && done > 0) {
    if (offset < 0) offset = syscall(SYS_lseek, fd, 0, SEEK_CUR) - done;
    note('w', name, (uint64_t)offset, data, (uint32_t)done);
  }
  return done;
}

ssize_t write(int fd, const void *data, size_t size) { return put(fd, data, size, -1); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return put(fd, data, size, offset); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) { return put(fd, data, size, offset); }

static int sync_of(int fd, long number) {
  char path[PATH_MAX];
  const char *name = name_of(fd, path);
  if (name && there("broken")) { errno = EIO; return -1; }
  if (name) note(*name ? 's' : 'd', name, 0, "", 0);
  (void)number; /* the log says what would be on a disk; a real sync would only take time */
  return 0;
}

int fsync(int fd) { return sync_of(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_of(fd, SYS_fdatasync); }

static int cut(int fd, off_t size) {
  char path[PATH_MAX];
  const char *name = name_of(fd, path);
  int done = (int)syscall(SYS_ftruncate, fd, size);
  if (name && !done) note('t', name, (uint64_t)size, "", 0);
  return done;
}

int ftruncate(int fd, off_t size) { return cut(fd, size); }
int ftruncate64(int fd, off64_t size) { return cut(fd, size); }

int unlink(const char *path) {
  const char *name = name_in(path);
  int done = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
  if (name && !done) note('u', name, 0, "", 0);
  return done;
}

static int opened(const char *path, int flags, mode_t mode) {
  const char *name = name_in(path);
  int is_new = name && (flags & O_CREAT) && syscall(SYS_faccessat, AT_FDCWD, path, F_OK) != 0;
  int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
  if (is_new && fd >= 0) note('c', name, 0, "", 0);
  return fd;
}

#define OPEN(function)                                             \
  int function(const char *path, int flags, ...) {                 \
    mode_t mode = 0;                                               \
    if (flags & O_CREAT) {                                         \
      va_list more;                                                \
      va_start(more, flags);                                       \
      mode = va_arg(more, mode_t);                                 \
      va_end(more);                                                \
    }                                                              \
    return opened(path, flags, mode);                              \
  }
OPEN(open)
OPEN(open64)
