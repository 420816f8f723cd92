// launch's structure and nothing else, which is what that costs at least: a launcher clones and writes the maps, the child
// executes the program again as PID 1, which names the host, mounts /proc and /tmp, starts the command and reaps; the launcher
// waits for it. As launch does, it shares memory with whom it clones, and stays on one processor, which the command need not.
// There is no wall (no seccomp filter, no capabilities taken away, no no_new_privs), and signals are not forwarded: it is no
// program to use.
//
//     two-steps [--net] [--rootfs DIR] -- CMD [ARG...]
//
// --net            in a new network namespace
// --rootfs         with DIR as the root, and a /dev with the usual devices of the outside

#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "enter_root.h"

#define STACK_SIZE (64 * 1024)
// The name by which PID 1 knows what it is.
#define INIT "init"

static char stack[STACK_SIZE] __attribute__((aligned(16)));
static char **words, **command;
static const char *root;
static int net, ends[2];

static void write_map(pid_t pid, const char *name, const char *text) {
    char path[64];
    sprintf(path, "/proc/%d/%s", pid, name);
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0 || write(file, text, strlen(text)) < 0) fail(path);
    close(file);
}

static void stay_here(void) {
    unsigned here;
    cpu_set_t one;
    CPU_ZERO(&one);
    // Not by the vDSO, whose pages would have to be mapped.
    syscall(SYS_getcpu, &here, NULL, NULL);
    CPU_SET(here, &one);
    if (sched_setaffinity(0, sizeof one, &one) != 0) fail("sched_setaffinity");
}

static void go_anywhere(void) {
    cpu_set_t all;
    memset(&all, 0xff, sizeof all);
    if (sched_setaffinity(0, sizeof all, &all) != 0) fail("sched_setaffinity");
}

static int become_command(void *unused) {
    (void)unused;
    go_anywhere();
    // PID 1 and the launcher still count as running here until it has been asked for another; exec would go elsewhere.
    sched_yield();
    execv(command[0], command);
    perror(command[0]);
    _exit(127);
}

static int status_of(int status) {
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int be_init(void) {
    int status;
    pid_t pid, ended;
    if (sethostname("container", strlen("container")) != 0) fail("sethostname");
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) fail("mount /");
    if (root != NULL) {
        enter_root(root);
    } else {
        if (mount("proc", "/proc", "proc", 0, NULL) != 0) fail("mount /proc");
        if (mount("none", "/tmp", "tmpfs", 0, "") != 0) fail("mount /tmp");
    }
    pid = clone(become_command, stack + STACK_SIZE, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
    if (pid < 0) fail("clone");
    // Who outlives the command ends with PID 1.
    while ((ended = wait(&status)) != pid) {
        if (ended < 0) fail("wait");
    }
    return status_of(status);
}

static int execute_init(void *unused) {
    char byte;
    (void)unused;
    // So that this end sees it if the launcher, who has the other, ends.
    close(ends[1]);
    if (read(ends[0], &byte, 1) != 1) fail("read");
    words[0] = INIT;
    execv("/proc/self/exe", words);
    fail("/proc/self/exe");
    return 125;
}

static int launch(void) {
    char map[64];
    int status, flags = CLONE_NEWCGROUP | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUSER;
    stay_here();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) fail("socketpair");
    pid_t pid = clone(execute_init, stack + STACK_SIZE, flags | (net ? CLONE_NEWNET : 0) | CLONE_VM | SIGCHLD, NULL);
    if (pid < 0) fail("clone");
    write_map(pid, "setgroups", "deny");
    sprintf(map, "0 %d 1", (int)getuid());
    write_map(pid, "uid_map", map);
    sprintf(map, "0 %d 1", (int)getgid());
    write_map(pid, "gid_map", map);
    if (write(ends[1], "x", 1) != 1) fail("write");
    if (waitpid(pid, &status, 0) != pid) fail("waitpid");
    return status_of(status);
}

int main(int count, char **arguments) {
    int i = 1;
    for (; i < count && strcmp(arguments[i], "--") != 0; i++) {
        if (strcmp(arguments[i], "--net") == 0) {
            net = 1;
        } else if (strcmp(arguments[i], "--rootfs") == 0 && i + 1 < count) {
            root = arguments[++i];
        } else {
            fprintf(stderr, "two-steps: %s?\n", arguments[i]);
            return 125;
        }
    }
    if (i + 1 >= count) return 125;
    words = arguments;
    command = arguments + i + 1;
    // No exit(3), which would look for what nobody has written.
    _exit(strcmp(arguments[0], INIT) == 0 ? be_init() : launch());
}
