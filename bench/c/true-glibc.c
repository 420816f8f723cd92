// A workload that does nothing, with a libc that is linked statically.

int main(void) {
    return 0;
}
