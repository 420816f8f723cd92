// A root of one's own, as tutorials make it: bound to itself, with a /dev of the usual devices of the outside, a /proc and a
// /tmp, and the old one let go. For both that do so here.

#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

static void fail(const char *what) {
    perror(what);
    _exit(125);
}

static void make_devices(void) {
    static const char *const names[] = {"null", "zero", "full", "random", "urandom", "tty"};
    char from[64], to[64];
    if (mount("none", "dev", "tmpfs", 0, "mode=755") != 0) fail("mount /dev");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        sprintf(from, "/dev/%s", names[i]);
        sprintf(to, "dev/%s", names[i]);
        int file = open(to, O_CREAT | O_WRONLY | O_CLOEXEC, 0666);
        if (file < 0) fail(to);
        close(file);
        if (mount(from, to, NULL, MS_BIND, NULL) != 0) fail(to);
    }
}

static void enter_root(const char *root) {
    if (mount(root, root, NULL, MS_BIND | MS_REC, NULL) != 0) fail(root);
    if (chdir(root) != 0) fail(root);
    make_devices();
    if (mount("proc", "proc", "proc", 0, NULL) != 0) fail("mount /proc");
    if (mount("none", "tmp", "tmpfs", 0, "") != 0) fail("mount /tmp");
    if (syscall(SYS_pivot_root, ".", ".") != 0) fail("pivot_root");
    if (umount2(".", MNT_DETACH) != 0) fail("umount");
    if (chdir("/") != 0) fail("chdir");
}
