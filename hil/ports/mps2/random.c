// The random source. The machine has none, so QEMU is given 32 bytes for each start at 0x21f00000 in the PSRAM; they are
// stretched by SHA-256 in counter mode. The counter is in the PSRAM too, where a reset leaves it as it is. Two starts with
// the same bytes give the same keys: hil/ draws new ones each time.
#include <string.h>
#include "board.h"

#define SEED ((const uint8_t *)0x21f00000)

#define COUNTER (*(volatile uint64_t *)0x21f00100)

void random_bytes(uint8_t *data, size_t length) {
    while (length > 0) {
        uint8_t digest[32];
        sha256_t hash;
        sha256_start(&hash);
        sha256_add(&hash, SEED, 32);
        uint64_t counter = COUNTER++;
        sha256_add(&hash, (const uint8_t *)&counter, sizeof(counter));
        sha256_end(&hash, digest);
        size_t part = length < sizeof(digest) ? length : sizeof(digest);
        memcpy(data, digest, part);
        data += part;
        length -= part;
    }
}
