// The module machine: UART, I2C, Pin, WDT, reset, with the interfaces that MicroPython documents for it.
#include "py/mperrno.h"
#include "py/mphal.h"
#include "py/runtime.h"
#include "py/stream.h"
#include "board.h"

// --- UART ------------------------------------------------------------------------------------------------------------

typedef struct {
    mp_obj_base_t base;
    int uart;
} uart_t;

static mp_obj_t uart_make(const mp_obj_type_t *type, size_t positional, size_t named, const mp_obj_t *arguments) {
    enum { ARGUMENT_ID, ARGUMENT_BAUD };
    static const mp_arg_t allowed[] = {
        { MP_QSTR_id, MP_ARG_REQUIRED | MP_ARG_INT, { 0 } },
        { MP_QSTR_baudrate, MP_ARG_INT, { .u_int = 115200 } },
    };
    mp_arg_val_t values[MP_ARRAY_SIZE(allowed)];
    mp_arg_parse_all_kw_array(positional, named, arguments, MP_ARRAY_SIZE(allowed), allowed, values);
    if (values[ARGUMENT_ID].u_int < 0 || values[ARGUMENT_ID].u_int >= UARTS || values[ARGUMENT_BAUD].u_int <= 0) {
        mp_raise_ValueError(MP_ERROR_TEXT("no such UART"));
    }
    uart_t *self = mp_obj_malloc(uart_t, type);
    self->uart = values[ARGUMENT_ID].u_int;
    uart_start(self->uart, values[ARGUMENT_BAUD].u_int);
    return MP_OBJ_FROM_PTR(self);
}

static mp_uint_t uart_stream_read(mp_obj_t self_in, void *data, mp_uint_t size, int *error) {
    uart_t *self = MP_OBJ_TO_PTR(self_in);
    mp_uint_t done = 0;
    while (done < size && uart_waiting(self->uart) > 0) {
        ((uint8_t *)data)[done++] = uart_take(self->uart);
    }
    if (done == 0 && size > 0) {
        *error = MP_EAGAIN;
        return MP_STREAM_ERROR;
    }
    return done;
}

static mp_uint_t uart_stream_write(mp_obj_t self_in, const void *data, mp_uint_t size, int *error) {
    (void)error;
    uart_t *self = MP_OBJ_TO_PTR(self_in);
    for (mp_uint_t i = 0; i < size; i++) {
        uart_send(self->uart, ((const uint8_t *)data)[i]);
    }
    return size;
}

static mp_uint_t uart_stream_ioctl(mp_obj_t self_in, mp_uint_t request, uintptr_t argument, int *error) {
    uart_t *self = MP_OBJ_TO_PTR(self_in);
    if (request == MP_STREAM_POLL) {
        mp_uint_t ready = 0;
        if ((argument & MP_STREAM_POLL_RD) && uart_waiting(self->uart) > 0) {
            ready |= MP_STREAM_POLL_RD;
        }
        if ((argument & MP_STREAM_POLL_WR) && uart_may_send(self->uart)) {
            ready |= MP_STREAM_POLL_WR;
        }
        return ready;
    }
    if (request == MP_STREAM_CLOSE || request == MP_STREAM_FLUSH) {
        return 0;
    }
    *error = MP_EINVAL;
    return MP_STREAM_ERROR;
}

static mp_obj_t uart_any(mp_obj_t self) {
    return MP_OBJ_NEW_SMALL_INT(uart_waiting(((uart_t *)MP_OBJ_TO_PTR(self))->uart));
}
static MP_DEFINE_CONST_FUN_OBJ_1(uart_any_obj, uart_any);

static mp_obj_t uart_overrun(mp_obj_t self) {
    return mp_obj_new_int_from_uint(uart_lost(((uart_t *)MP_OBJ_TO_PTR(self))->uart));
}
static MP_DEFINE_CONST_FUN_OBJ_1(uart_overrun_obj, uart_overrun);

static const mp_rom_map_elem_t uart_members[] = {
    { MP_ROM_QSTR(MP_QSTR_any), MP_ROM_PTR(&uart_any_obj) },
    { MP_ROM_QSTR(MP_QSTR_overrun), MP_ROM_PTR(&uart_overrun_obj) },
    { MP_ROM_QSTR(MP_QSTR_read), MP_ROM_PTR(&mp_stream_read_obj) },
    { MP_ROM_QSTR(MP_QSTR_readinto), MP_ROM_PTR(&mp_stream_readinto_obj) },
    { MP_ROM_QSTR(MP_QSTR_write), MP_ROM_PTR(&mp_stream_write_obj) },
    { MP_ROM_QSTR(MP_QSTR_close), MP_ROM_PTR(&mp_stream_close_obj) },
};
static MP_DEFINE_CONST_DICT(uart_dictionary, uart_members);
static const mp_stream_p_t uart_protocol = { .read = uart_stream_read, .write = uart_stream_write, .ioctl = uart_stream_ioctl };
static MP_DEFINE_CONST_OBJ_TYPE(uart_type, MP_QSTR_UART, MP_TYPE_FLAG_NONE,
    make_new, uart_make, protocol, &uart_protocol, locals_dict, &uart_dictionary);

// --- I2C -------------------------------------------------------------------------------------------------------------

typedef struct {
    mp_obj_base_t base;
    int bus;
} bus_t;

static mp_obj_t i2c_make(const mp_obj_type_t *type, size_t positional, size_t named, const mp_obj_t *arguments) {
    (void)named;
    mp_arg_check_num(positional, 0, 1, 1, false);
    int bus = mp_obj_get_int(arguments[0]);
    if (bus < 0 || bus >= I2C_BUSES) {
        mp_raise_ValueError(MP_ERROR_TEXT("no such I2C bus"));
    }
    bus_t *self = mp_obj_malloc(bus_t, type);
    self->bus = bus;
    i2c_start(bus);
    return MP_OBJ_FROM_PTR(self);
}

static int bus_of(mp_obj_t self) {
    return ((bus_t *)MP_OBJ_TO_PTR(self))->bus;
}

static void require_answer(bool answered) {
    if (!answered) {
        mp_raise_OSError(MP_ENODEV);
    }
}

static mp_obj_t i2c_scan(mp_obj_t self) {
    mp_obj_t found = mp_obj_new_list(0, NULL);
    for (int address = 8; address < 0x78; address++) {
        if (i2c_write(bus_of(self), address, NULL, 0, true)) {
            mp_obj_list_append(found, MP_OBJ_NEW_SMALL_INT(address));
        }
    }
    return found;
}
static MP_DEFINE_CONST_FUN_OBJ_1(i2c_scan_obj, i2c_scan);

static mp_obj_t i2c_readfrom(size_t count, const mp_obj_t *arguments) {
    (void)count;
    vstr_t bytes;
    vstr_init_len(&bytes, mp_obj_get_int(arguments[2]));
    require_answer(i2c_read(bus_of(arguments[0]), mp_obj_get_int(arguments[1]), (uint8_t *)bytes.buf, bytes.len));
    return mp_obj_new_bytes_from_vstr(&bytes);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(i2c_readfrom_obj, 3, 4, i2c_readfrom);

static mp_obj_t i2c_readfrom_into(size_t count, const mp_obj_t *arguments) {
    (void)count;
    mp_buffer_info_t target;
    mp_get_buffer_raise(arguments[2], &target, MP_BUFFER_WRITE);
    require_answer(i2c_read(bus_of(arguments[0]), mp_obj_get_int(arguments[1]), target.buf, target.len));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(i2c_readfrom_into_obj, 3, 4, i2c_readfrom_into);

static mp_obj_t i2c_writeto(size_t count, const mp_obj_t *arguments) {
    mp_buffer_info_t source;
    mp_get_buffer_raise(arguments[2], &source, MP_BUFFER_READ);
    bool stop = count < 4 || mp_obj_is_true(arguments[3]);
    require_answer(i2c_write(bus_of(arguments[0]), mp_obj_get_int(arguments[1]), source.buf, source.len, stop));
    return MP_OBJ_NEW_SMALL_INT(source.len);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(i2c_writeto_obj, 3, 4, i2c_writeto);

// Registers are addressed by one byte, the default of MicroPython's `addrsize`.
static void read_register(const mp_obj_t *arguments, uint8_t *data, size_t length) {
    uint8_t which = mp_obj_get_int(arguments[2]);
    int address = mp_obj_get_int(arguments[1]);
    int bus = bus_of(arguments[0]);
    require_answer(i2c_write(bus, address, &which, 1, false) && i2c_read(bus, address, data, length));
}

static mp_obj_t i2c_readfrom_mem(size_t count, const mp_obj_t *arguments) {
    (void)count;
    vstr_t bytes;
    vstr_init_len(&bytes, mp_obj_get_int(arguments[3]));
    read_register(arguments, (uint8_t *)bytes.buf, bytes.len);
    return mp_obj_new_bytes_from_vstr(&bytes);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(i2c_readfrom_mem_obj, 4, 4, i2c_readfrom_mem);

static mp_obj_t i2c_readfrom_mem_into(size_t count, const mp_obj_t *arguments) {
    (void)count;
    mp_buffer_info_t target;
    mp_get_buffer_raise(arguments[3], &target, MP_BUFFER_WRITE);
    read_register(arguments, target.buf, target.len);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(i2c_readfrom_mem_into_obj, 4, 4, i2c_readfrom_mem_into);

static mp_obj_t i2c_writeto_mem(size_t count, const mp_obj_t *arguments) {
    (void)count;
    mp_buffer_info_t source;
    mp_get_buffer_raise(arguments[3], &source, MP_BUFFER_READ);
    vstr_t bytes;
    vstr_init(&bytes, 1 + source.len);
    vstr_add_byte(&bytes, mp_obj_get_int(arguments[2]));
    vstr_add_strn(&bytes, source.buf, source.len);
    bool taken = i2c_write(bus_of(arguments[0]), mp_obj_get_int(arguments[1]), (uint8_t *)bytes.buf, bytes.len, true);
    vstr_clear(&bytes);
    require_answer(taken);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(i2c_writeto_mem_obj, 4, 4, i2c_writeto_mem);

static const mp_rom_map_elem_t i2c_members[] = {
    { MP_ROM_QSTR(MP_QSTR_scan), MP_ROM_PTR(&i2c_scan_obj) },
    { MP_ROM_QSTR(MP_QSTR_readfrom), MP_ROM_PTR(&i2c_readfrom_obj) },
    { MP_ROM_QSTR(MP_QSTR_readfrom_into), MP_ROM_PTR(&i2c_readfrom_into_obj) },
    { MP_ROM_QSTR(MP_QSTR_writeto), MP_ROM_PTR(&i2c_writeto_obj) },
    { MP_ROM_QSTR(MP_QSTR_readfrom_mem), MP_ROM_PTR(&i2c_readfrom_mem_obj) },
    { MP_ROM_QSTR(MP_QSTR_readfrom_mem_into), MP_ROM_PTR(&i2c_readfrom_mem_into_obj) },
    { MP_ROM_QSTR(MP_QSTR_writeto_mem), MP_ROM_PTR(&i2c_writeto_mem_obj) },
};
static MP_DEFINE_CONST_DICT(i2c_dictionary, i2c_members);
static MP_DEFINE_CONST_OBJ_TYPE(i2c_type, MP_QSTR_I2C, MP_TYPE_FLAG_NONE, make_new, i2c_make, locals_dict, &i2c_dictionary);

// --- Pin: the two LEDs of the FPGA's I/O block (Arm DAI 0385, "FPGA system control and I/O"), which QEMU shows -----

#define LEDS REGISTER(0x40028000)
#define PINS (2)

typedef struct {
    mp_obj_base_t base;
    int pin;
} pin_t;

static void pin_set(int pin, bool on) {
    LEDS = on ? LEDS | 1u << pin : LEDS & ~(1u << pin);
}

static mp_obj_t pin_make(const mp_obj_type_t *type, size_t positional, size_t named, const mp_obj_t *arguments) {
    enum { ARGUMENT_ID, ARGUMENT_MODE, ARGUMENT_PULL, ARGUMENT_VALUE };
    static const mp_arg_t allowed[] = {
        { MP_QSTR_id, MP_ARG_REQUIRED | MP_ARG_INT, { 0 } },
        { MP_QSTR_mode, MP_ARG_INT, { .u_int = 1 } },
        { MP_QSTR_pull, MP_ARG_OBJ, { .u_rom_obj = MP_ROM_NONE } },
        { MP_QSTR_value, MP_ARG_KW_ONLY | MP_ARG_OBJ, { .u_rom_obj = MP_ROM_NONE } },
    };
    mp_arg_val_t values[MP_ARRAY_SIZE(allowed)];
    mp_arg_parse_all_kw_array(positional, named, arguments, MP_ARRAY_SIZE(allowed), allowed, values);
    if (values[ARGUMENT_ID].u_int < 0 || values[ARGUMENT_ID].u_int >= PINS) {
        mp_raise_ValueError(MP_ERROR_TEXT("no such pin"));
    }
    pin_t *self = mp_obj_malloc(pin_t, type);
    self->pin = values[ARGUMENT_ID].u_int;
    if (values[ARGUMENT_VALUE].u_obj != mp_const_none) {
        pin_set(self->pin, mp_obj_is_true(values[ARGUMENT_VALUE].u_obj));
    }
    return MP_OBJ_FROM_PTR(self);
}

static mp_obj_t pin_value(size_t count, const mp_obj_t *arguments) {
    int pin = ((pin_t *)MP_OBJ_TO_PTR(arguments[0]))->pin;
    if (count == 1) {
        return MP_OBJ_NEW_SMALL_INT(LEDS >> pin & 1);
    }
    pin_set(pin, mp_obj_is_true(arguments[1]));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(pin_value_obj, 1, 2, pin_value);

static mp_obj_t pin_on(mp_obj_t self) {
    pin_set(((pin_t *)MP_OBJ_TO_PTR(self))->pin, true);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(pin_on_obj, pin_on);

static mp_obj_t pin_off(mp_obj_t self) {
    pin_set(((pin_t *)MP_OBJ_TO_PTR(self))->pin, false);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(pin_off_obj, pin_off);

static const mp_rom_map_elem_t pin_members[] = {
    { MP_ROM_QSTR(MP_QSTR_value), MP_ROM_PTR(&pin_value_obj) },
    { MP_ROM_QSTR(MP_QSTR_on), MP_ROM_PTR(&pin_on_obj) },
    { MP_ROM_QSTR(MP_QSTR_off), MP_ROM_PTR(&pin_off_obj) },
    { MP_ROM_QSTR(MP_QSTR_IN), MP_ROM_INT(0) },
    { MP_ROM_QSTR(MP_QSTR_OUT), MP_ROM_INT(1) },
};
static MP_DEFINE_CONST_DICT(pin_dictionary, pin_members);
static MP_DEFINE_CONST_OBJ_TYPE(pin_type, MP_QSTR_Pin, MP_TYPE_FLAG_NONE, make_new, pin_make, locals_dict, &pin_dictionary);

// --- WDT: the CMSDK APB watchdog (Arm DDI 0479, 4.6): the first time-out interrupts, the second resets ----------------

#define WATCHDOG_LOAD REGISTER(0x40008000)
#define WATCHDOG_CONTROL REGISTER(0x40008008)
#define WATCHDOG_CLEAR REGISTER(0x4000800c)
#define WATCHDOG_LOCK REGISTER(0x40008c00)

typedef struct {
    mp_obj_base_t base;
} watchdog_t;

static mp_obj_t watchdog_feed(mp_obj_t self) {
    (void)self;
    WATCHDOG_CLEAR = 1;
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(watchdog_feed_obj, watchdog_feed);

static mp_obj_t watchdog_make(const mp_obj_type_t *type, size_t positional, size_t named, const mp_obj_t *arguments) {
    enum { ARGUMENT_ID, ARGUMENT_TIMEOUT };
    static const mp_arg_t allowed[] = {
        { MP_QSTR_id, MP_ARG_INT, { .u_int = 0 } },
        { MP_QSTR_timeout, MP_ARG_INT, { .u_int = 5000 } },
    };
    mp_arg_val_t values[MP_ARRAY_SIZE(allowed)];
    mp_arg_parse_all_kw_array(positional, named, arguments, MP_ARRAY_SIZE(allowed), allowed, values);
    mp_int_t timeout = values[ARGUMENT_TIMEOUT].u_int;
    if (timeout < 2 || timeout > 300000) {
        mp_raise_ValueError(MP_ERROR_TEXT("timeout is 2 to 300000 ms"));
    }
    // It counts twice down from here before it resets.
    WATCHDOG_LOCK = 0x1acce551;
    WATCHDOG_LOAD = (uint32_t)timeout * (CLOCK_HZ / 1000) / 2;
    WATCHDOG_CONTROL = 3;
    return MP_OBJ_FROM_PTR(mp_obj_malloc(watchdog_t, type));
}

static const mp_rom_map_elem_t watchdog_members[] = {
    { MP_ROM_QSTR(MP_QSTR_feed), MP_ROM_PTR(&watchdog_feed_obj) },
};
static MP_DEFINE_CONST_DICT(watchdog_dictionary, watchdog_members);
static MP_DEFINE_CONST_OBJ_TYPE(
    watchdog_type, MP_QSTR_WDT, MP_TYPE_FLAG_NONE, make_new, watchdog_make, locals_dict, &watchdog_dictionary);

// --- the module ------------------------------------------------------------------------------------------------------

static mp_obj_t machine_reset(void) {
    reset_machine();
}
static MP_DEFINE_CONST_FUN_OBJ_0(machine_reset_obj, machine_reset);

static mp_obj_t machine_idle(void) {
    mp_event_wait_ms(1);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_0(machine_idle_obj, machine_idle);

static mp_obj_t machine_freq(void) {
    return MP_OBJ_NEW_SMALL_INT(CLOCK_HZ);
}
static MP_DEFINE_CONST_FUN_OBJ_0(machine_freq_obj, machine_freq);

static const mp_rom_map_elem_t machine_members[] = {
    { MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_machine) },
    { MP_ROM_QSTR(MP_QSTR_UART), MP_ROM_PTR(&uart_type) },
    { MP_ROM_QSTR(MP_QSTR_I2C), MP_ROM_PTR(&i2c_type) },
    { MP_ROM_QSTR(MP_QSTR_Pin), MP_ROM_PTR(&pin_type) },
    { MP_ROM_QSTR(MP_QSTR_WDT), MP_ROM_PTR(&watchdog_type) },
    { MP_ROM_QSTR(MP_QSTR_reset), MP_ROM_PTR(&machine_reset_obj) },
    { MP_ROM_QSTR(MP_QSTR_idle), MP_ROM_PTR(&machine_idle_obj) },
    { MP_ROM_QSTR(MP_QSTR_freq), MP_ROM_PTR(&machine_freq_obj) },
};
static MP_DEFINE_CONST_DICT(machine_globals, machine_members);
const mp_obj_module_t mp_module_machine = { .base = { &mp_type_module }, .globals = (mp_obj_dict_t *)&machine_globals };
MP_REGISTER_MODULE(MP_QSTR_machine, mp_module_machine);
