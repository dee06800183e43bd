// Two UARTs with interrupts: the CMSDK APB UARTs at 0x40004000 and 0x40005000 (Arm DDI 0479, 4.3).
#include "py/mphal.h"
#include "py/runtime.h"
#include "py/stream.h"
#include "shared/runtime/interrupt_char.h"
#include "board.h"

#define DATA(uart) REGISTER(0x40004000 + 0x1000 * (uart))
#define STATE(uart) REGISTER(0x40004004 + 0x1000 * (uart))
#define CONTROL(uart) REGISTER(0x40004008 + 0x1000 * (uart))
#define INTERRUPT(uart) REGISTER(0x4000400c + 0x1000 * (uart))
#define DIVIDER(uart) REGISTER(0x40004010 + 0x1000 * (uart))
#define INTERRUPT_ENABLE REGISTER(0xe000e100)

// A power of two. At 921,600 baud it fills in 44 ms, which no loop of the firmware takes.
#define RING (4096)

static struct {
    volatile uint32_t head, tail, lost;
    uint8_t bytes[RING];
} received[UARTS];

void uart_start(int uart, uint32_t baud) {
    uint32_t divider = CLOCK_HZ / baud;
    DIVIDER(uart) = divider < 16 ? 16 : divider;
    // Send, receive, and an interrupt for what is received.
    CONTROL(uart) = 1 | 2 | 8;
    INTERRUPT_ENABLE = 1 << 2 * uart;
}

static void take_in(int uart) {
    INTERRUPT(uart) = 2;
    while (STATE(uart) & 2) {
        uint8_t byte = DATA(uart);
        if (uart == 0 && byte == mp_interrupt_char) {
            mp_sched_keyboard_interrupt();
        } else if (received[uart].head - received[uart].tail == RING) {
            received[uart].lost++;
        } else {
            received[uart].bytes[received[uart].head % RING] = byte;
            received[uart].head++;
        }
    }
}

void uart0_handler(void) {
    take_in(0);
}

void uart1_handler(void) {
    take_in(1);
}

size_t uart_waiting(int uart) {
    return received[uart].head - received[uart].tail;
}

// Only when something is waiting.
int uart_take(int uart) {
    uint8_t byte = received[uart].bytes[received[uart].tail % RING];
    received[uart].tail++;
    return byte;
}

bool uart_may_send(int uart) {
    return !(STATE(uart) & 1);
}

void uart_send(int uart, uint8_t byte) {
    while (!uart_may_send(uart)) {
    }
    DATA(uart) = byte;
}

uint32_t uart_lost(int uart) {
    return received[uart].lost;
}

int mp_hal_stdin_rx_chr(void) {
    while (uart_waiting(0) == 0) {
        mp_event_wait_indefinite();
    }
    return uart_take(0);
}

mp_uint_t mp_hal_stdout_tx_strn(const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        uart_send(0, (uint8_t)text[i]);
    }
    return length;
}

uintptr_t mp_hal_stdio_poll(uintptr_t wanted) {
    uintptr_t ready = wanted & MP_STREAM_POLL_WR;
    if ((wanted & MP_STREAM_POLL_RD) && uart_waiting(0) > 0) {
        ready |= MP_STREAM_POLL_RD;
    }
    return ready;
}
