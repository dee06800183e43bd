// What MicroPython asks of the hardware.
#include <stdbool.h>
#include "py/mpconfig.h"

// No pins: without this, py/mphal.h asks for files that the core does not have.
#define mp_hal_pin_obj_t mp_obj_t

#define CLOCK_HZ (25000000)

// SysTick interrupts each millisecond, so a wait is never longer.
#define MICROPY_INTERNAL_WFE(timeout_ms) __asm volatile ("wfi")

void clock_start(void);
mp_uint_t mp_hal_ticks_ms(void);
mp_uint_t mp_hal_ticks_us(void);
mp_uint_t mp_hal_ticks_cpu(void);
void mp_hal_delay_ms(mp_uint_t milliseconds);
void mp_hal_delay_us(mp_uint_t microseconds);
void mp_hal_set_interrupt_char(int c);
