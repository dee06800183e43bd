// From the vector table to main (Armv7-M Architecture Reference Manual, B1.5). Faults end the emulation.
#include "board.h"

extern uint32_t _stack_top, _load_data, _sdata, _edata, _sbss, _ebss;
int main(void);
void SysTick_Handler(void);
void uart0_handler(void);
void uart1_handler(void);

// QEMU answers semihosting's SYS_EXIT_EXTENDED by leaving with the code.
void leave_emulation(int code) {
    const uint32_t block[2] = {0x20026, (uint32_t)code};
    register uint32_t operation __asm("r0") = 0x20;
    register const uint32_t *argument __asm("r1") = block;
    __asm volatile ("bkpt 0xab" : : "r" (operation), "r" (argument) : "memory");
    for (;;) {
    }
}

// SYSRESETREQ (B3.2.6).
void reset_machine(void) {
    __asm volatile ("dsb" : : : "memory");
    REGISTER(0xe000ed0c) = 0x05fa0004;
    for (;;) {
    }
}

static void fault(void) {
    leave_emulation(250);
}

// The watchdog's first time-out; at its second it resets the machine.
static void warned(void) {
}

void Reset_Handler(void) {
    uint32_t *from = &_load_data;
    for (uint32_t *to = &_sdata; to < &_edata;) {
        *to++ = *from++;
    }
    for (uint32_t *to = &_sbss; to < &_ebss;) {
        *to++ = 0;
    }
    leave_emulation(main());
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16 + 32] = {
    &_stack_top, Reset_Handler, warned, fault, fault, fault, fault, 0, 0, 0, 0, fault, fault, 0, fault, SysTick_Handler,
    [16 ... 47] = fault,
    [16 + 0] = uart0_handler,
    [16 + 2] = uart1_handler,
};
