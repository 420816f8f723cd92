// What every tutorial about namespaces does, as plainly as there: clone, write the maps, let the child go on, which names the
// host, mounts /proc and /tmp and becomes the command. The mounts are made private first, or /proc and /tmp would be mounted
// outside too; and the command's status is returned. There is no PID 1 of its own: the command is it.
//
//     tutorial [--net] [--rootfs DIR] [--binds DIR N] -- CMD [ARG...]
//     tutorial --serve MIB THREADS -- CMD [ARG...]
//
// --net            in a new network namespace
// --rootfs         with DIR as the root, and a /dev with the usual devices of the outside
// --binds          with N directories DIR/0, DIR/1, ... read-only at /tmp/at/0, /tmp/at/1, ...
// --serve          from a process with a heap of MIB MiB and so many threads: a start for each byte on stdin, and a line with
//                  the nanoseconds that it took

#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "enter_root.h"

#define STACK_SIZE (1024 * 1024)

static char stack[STACK_SIZE] __attribute__((aligned(16)));
static char **command;
static const char *root, *binds;
static int number_of_binds, net, pipe_ends[2];

static void write_map(pid_t pid, const char *name, const char *text) {
    char path[256];
    sprintf(path, "/proc/%d/%s", pid, name);
    FILE *file = fopen(path, "w");
    if (file == NULL) fail(path);
    fputs(text, file);
    if (fclose(file) != 0) fail(path);
}

static void bind_all(void) {
    char from[4096], to[64];
    if (mkdir("/tmp/at", 0755) != 0) fail("mkdir");
    for (int i = 0; i < number_of_binds; i++) {
        snprintf(from, sizeof from, "%s/%d", binds, i);
        sprintf(to, "/tmp/at/%d", i);
        if (mkdir(to, 0755) != 0) fail(to);
        if (mount(from, to, NULL, MS_BIND, NULL) != 0) fail(to);
        if (mount(NULL, to, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) != 0) fail(to);
    }
}

static int container_main(void *unused) {
    char byte;
    (void)unused;
    close(pipe_ends[1]);
    if (read(pipe_ends[0], &byte, 1) != 0) fail("read");
    if (sethostname("container", strlen("container")) != 0) fail("sethostname");
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) fail("mount /");
    if (root != NULL) {
        enter_root(root);
    } else {
        if (mount("proc", "/proc", "proc", 0, NULL) != 0) fail("mount /proc");
        if (mount("none", "/tmp", "tmpfs", 0, "") != 0) fail("mount /tmp");
    }
    if (binds != NULL) bind_all();
    execv(command[0], command);
    perror(command[0]);
    return 127;
}

static int start(void) {
    char map[64];
    int status, flags = CLONE_NEWCGROUP | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUSER;
    if (pipe2(pipe_ends, O_CLOEXEC) != 0) fail("pipe");
    pid_t pid = clone(container_main, stack + STACK_SIZE, flags | (net ? CLONE_NEWNET : 0) | SIGCHLD, NULL);
    if (pid < 0) fail("clone");
    write_map(pid, "setgroups", "deny");
    sprintf(map, "0 %d 1", (int)getuid());
    write_map(pid, "uid_map", map);
    sprintf(map, "0 %d 1", (int)getgid());
    write_map(pid, "gid_map", map);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    if (waitpid(pid, &status, 0) != pid) fail("waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void *sleep_for_ever(void *unused) {
    for (;;) pause();
    return unused;
}

static int serve(size_t mib, int threads) {
    char byte;
    char *heap = malloc(mib << 20);
    if (heap == NULL) fail("malloc");
    memset(heap, 1, mib << 20);
    for (int i = 0; i < threads; i++) {
        pthread_t thread;
        if ((errno = pthread_create(&thread, NULL, sleep_for_ever, NULL)) != 0) fail("pthread_create");
    }
    while (read(0, &byte, 1) == 1) {
        struct timespec from, to;
        clock_gettime(CLOCK_MONOTONIC, &from);
        int status = start();
        clock_gettime(CLOCK_MONOTONIC, &to);
        if (status != 0) return status;
        printf("%lld\n", (to.tv_sec - from.tv_sec) * 1000000000LL + (to.tv_nsec - from.tv_nsec));
        fflush(stdout);
    }
    return 0;
}

int main(int count, char **words) {
    int i = 1, threads = 0;
    size_t mib = 0;
    for (; i < count && strcmp(words[i], "--") != 0; i++) {
        if (strcmp(words[i], "--net") == 0) {
            net = 1;
        } else if (strcmp(words[i], "--rootfs") == 0 && i + 1 < count) {
            root = words[++i];
        } else if (strcmp(words[i], "--binds") == 0 && i + 2 < count) {
            binds = words[++i];
            number_of_binds = atoi(words[++i]);
        } else if (strcmp(words[i], "--serve") == 0 && i + 2 < count) {
            mib = strtoul(words[++i], NULL, 10);
            threads = atoi(words[++i]);
        } else {
            fprintf(stderr, "tutorial: %s?\n", words[i]);
            return 125;
        }
    }
    command = words + i + 1;
    if (i + 1 >= count) return 125;
    return mib > 0 ? serve(mib, threads) : start();
}
