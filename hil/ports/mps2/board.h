// The mps2-an385 as QEMU emulates it (Arm DAI 0385, "Memory map"): what the files of the port need of each other.
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REGISTER(address) (*(volatile uint32_t *)(address))

// startup.c: leave QEMU with an exit code, and reset as the button would.
void leave_emulation(int code) __attribute__((noreturn));
void reset_machine(void) __attribute__((noreturn));

// uart.c: 0 is the console, 1 the serial link. Received bytes wait in a ring; those beyond it are lost and counted.
#define UARTS (2)
void uart_start(int uart, uint32_t baud);
size_t uart_waiting(int uart);
int uart_take(int uart);
bool uart_may_send(int uart);
void uart_send(int uart, uint8_t byte);
uint32_t uart_lost(int uart);

// i2c.c: the four Arm SBCon buses, each driven bit by bit.
#define I2C_BUSES (4)
void i2c_start(int bus);
bool i2c_write(int bus, uint8_t address, const uint8_t *data, size_t length, bool stop);
bool i2c_read(int bus, uint8_t address, uint8_t *data, size_t length);

// storage.c: the file system on the EEPROMs. `storage_mount` is false where there is no EEPROM; `storage_kind` is 0 for
// nothing, 1 for a file, 2 for a folder; `storage_open` gives a file object for reading, or raises OSError.
bool storage_mount(void);
int storage_kind(const char *path);
void *storage_open(const char *path);

// random.c: bytes that QEMU was given for this start, stretched by SHA-256 in counter mode.
void random_bytes(uint8_t *data, size_t length);

// sha256.c (FIPS 180-4).
typedef struct {
    uint32_t state[8];
    uint64_t length;
    uint8_t block[64];
} sha256_t;
void sha256_start(sha256_t *hash);
void sha256_add(sha256_t *hash, const uint8_t *data, size_t length);
void sha256_end(sha256_t *hash, uint8_t digest[32]);
