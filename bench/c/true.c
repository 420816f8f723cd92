// A workload that does nothing, without libc: its own start is as short as one can be, and does not drown what it is measured
// beneath.

__attribute__((noreturn)) void _start(void) {
#if defined(__x86_64__)
    __asm__ volatile("syscall" ::"a"(231L), "D"(0L) : "rcx", "r11", "memory");
#elif defined(__aarch64__)
    register long number __asm__("x8") = 94;
    register long status __asm__("x0") = 0;
    __asm__ volatile("svc 0" ::"r"(number), "r"(status) : "memory");
#else
#error "exit_group(2) is not known for this machine"
#endif
    __builtin_unreachable();
}
