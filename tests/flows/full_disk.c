/* A disk that is full when a test says so: preloaded into a process, it refuses to make a file below a folder longer
   for as long as the first byte of a shared file is not 0. What overwrites goes through, as on a disk without space. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static const volatile char *full;
static const char *folder;

__attribute__((constructor)) static void open_file(void) {
    const char *path = getenv("FULL_DISK");
    folder = getenv("FULL_DISK_FOLDER");
    int file = path && folder ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *page = mmap(NULL, 1, PROT_READ, MAP_SHARED, file, 0);
    if (page != MAP_FAILED) full = page;
    close(file);
}

static int has_room(int file, off_t end) {
    if (!full || !*full) return 1;
    struct stat found;
    char link[40], path[PATH_MAX];
    if (syscall(SYS_newfstatat, file, "", &found, AT_EMPTY_PATH) || !S_ISREG(found.st_mode)) return 1;
    if (end >= 0 && end <= found.st_size) return 1;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path);
    if (length < (ssize_t)strlen(folder) || strncmp(path, folder, strlen(folder))) return 1;
    errno = ENOSPC;
    return 0;
}

ssize_t pwrite64(int file, const void *data, size_t size, off_t at) {
    return has_room(file, at + (off_t)size) ? syscall(SYS_pwrite64, file, data, size, at) : -1;
}

ssize_t pwrite(int file, const void *data, size_t size, off_t at) { return pwrite64(file, data, size, at); }

ssize_t write(int file, const void *data, size_t size) {
    /* Files that are written so are written from their beginning to their end. */
    return has_room(file, -1) ? syscall(SYS_write, file, data, size) : -1;
}

int posix_fallocate64(int file, off_t at, off_t size) {
    return has_room(file, at + size) ? posix_fallocate(file, at, size) : ENOSPC;
}
