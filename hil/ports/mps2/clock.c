// The clock: Armv7-M's SysTick, a tick a millisecond (Armv7-M Architecture Reference Manual, B3.3).
#include "py/mphal.h"
#include "py/runtime.h"
#include "board.h"

#define SYSTICK_CONTROL REGISTER(0xe000e010)
#define SYSTICK_RELOAD REGISTER(0xe000e014)
#define SYSTICK_VALUE REGISTER(0xe000e018)
#define TICKS_PER_MS (CLOCK_HZ / 1000)

static volatile uint32_t milliseconds;

void clock_start(void) {
    SYSTICK_RELOAD = TICKS_PER_MS - 1;
    SYSTICK_VALUE = 0;
    SYSTICK_CONTROL = 7;
}

void SysTick_Handler(void) {
    milliseconds++;
}

mp_uint_t mp_hal_ticks_ms(void) {
    return milliseconds;
}

mp_uint_t mp_hal_ticks_cpu(void) {
    for (;;) {
        uint32_t before = milliseconds, part = SYSTICK_VALUE;
        if (before == milliseconds) {
            return before * TICKS_PER_MS + (TICKS_PER_MS - 1 - part);
        }
    }
}

mp_uint_t mp_hal_ticks_us(void) {
    return mp_hal_ticks_cpu() / (CLOCK_HZ / 1000000);
}

void mp_hal_delay_us(mp_uint_t microseconds) {
    mp_uint_t start = mp_hal_ticks_us();
    while (mp_hal_ticks_us() - start < microseconds) {
    }
}

void mp_hal_delay_ms(mp_uint_t wanted) {
    mp_uint_t start = milliseconds;
    while (milliseconds - start < wanted) {
        mp_event_wait_indefinite();
    }
}
