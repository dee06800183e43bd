// The Arm SBCon I2C controllers: two lines that software sets and clears (Arm DDI 0479; UM10204 for the protocol).
// Clocks are not stretched, so no waiting is needed and none can hang.
#include "board.h"

#define CLOCK_LINE (1)
#define DATA_LINE (2)

static const uint32_t bases[I2C_BUSES] = {0x40022000, 0x40023000, 0x40029000, 0x4002a000};

static void set(int bus, uint32_t lines) {
    REGISTER(bases[bus]) = lines;
}

static void clear(int bus, uint32_t lines) {
    REGISTER(bases[bus] + 4) = lines;
}

static bool data_is_high(int bus) {
    return REGISTER(bases[bus]) & DATA_LINE;
}

void i2c_start(int bus) {
    set(bus, CLOCK_LINE | DATA_LINE);
}

static void begin(int bus) {
    set(bus, DATA_LINE);
    set(bus, CLOCK_LINE);
    clear(bus, DATA_LINE);
    clear(bus, CLOCK_LINE);
}

static void end(int bus) {
    clear(bus, DATA_LINE);
    set(bus, CLOCK_LINE);
    set(bus, DATA_LINE);
}

static bool clock_bit(int bus, bool bit) {
    if (bit) {
        set(bus, DATA_LINE);
    } else {
        clear(bus, DATA_LINE);
    }
    set(bus, CLOCK_LINE);
    bool seen = data_is_high(bus);
    clear(bus, CLOCK_LINE);
    return seen;
}

static bool send(int bus, uint8_t byte) {
    for (int i = 7; i >= 0; i--) {
        clock_bit(bus, byte >> i & 1);
    }
    return !clock_bit(bus, true);
}

static uint8_t receive(int bus, bool acknowledge) {
    uint8_t byte = 0;
    for (int i = 0; i < 8; i++) {
        byte = byte << 1 | clock_bit(bus, true);
    }
    clock_bit(bus, !acknowledge);
    return byte;
}

// Whether every byte was acknowledged. Without `stop` the next transfer begins with a repeated start.
bool i2c_write(int bus, uint8_t address, const uint8_t *data, size_t length, bool stop) {
    begin(bus);
    bool taken = send(bus, address << 1);
    for (size_t i = 0; taken && i < length; i++) {
        taken = send(bus, data[i]);
    }
    if (stop || !taken) {
        end(bus);
    }
    return taken;
}

bool i2c_read(int bus, uint8_t address, uint8_t *data, size_t length) {
    begin(bus);
    bool taken = send(bus, address << 1 | 1);
    for (size_t i = 0; taken && i < length; i++) {
        data[i] = receive(bus, i + 1 < length);
    }
    end(bus);
    return taken;
}
