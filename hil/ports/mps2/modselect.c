// The module select: `poll` over streams that answer MP_STREAM_POLL, as asyncio needs it. Between looks the core sleeps
// until the next interrupt.
#include "py/mphal.h"
#include "py/objlist.h"
#include "py/runtime.h"
#include "py/stream.h"

typedef struct {
    mp_obj_base_t base;
    mp_map_t watched;
} poll_t;

static mp_obj_t poll_register(size_t count, const mp_obj_t *arguments) {
    poll_t *self = MP_OBJ_TO_PTR(arguments[0]);
    mp_get_stream_raise(arguments[1], MP_STREAM_OP_IOCTL);
    mp_map_elem_t *entry = mp_map_lookup(&self->watched, mp_obj_id(arguments[1]), MP_MAP_LOOKUP_ADD_IF_NOT_FOUND);
    mp_obj_t flags = count > 2 ? arguments[2] : MP_OBJ_NEW_SMALL_INT(MP_STREAM_POLL_RD | MP_STREAM_POLL_WR);
    entry->value = mp_obj_new_list(2, (mp_obj_t[]) { arguments[1], flags });
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(poll_register_obj, 2, 3, poll_register);

static mp_obj_t poll_unregister(mp_obj_t self, mp_obj_t stream) {
    mp_map_lookup(&((poll_t *)MP_OBJ_TO_PTR(self))->watched, mp_obj_id(stream), MP_MAP_LOOKUP_REMOVE_IF_FOUND);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_2(poll_unregister_obj, poll_unregister);

static mp_obj_t look(poll_t *self) {
    mp_obj_t ready = mp_obj_new_list(0, NULL);
    for (size_t i = 0; i < self->watched.alloc; i++) {
        if (!mp_map_slot_is_filled(&self->watched, i)) {
            continue;
        }
        mp_obj_list_t *entry = MP_OBJ_TO_PTR(self->watched.table[i].value);
        int error;
        mp_uint_t flags = mp_get_stream(entry->items[0])->ioctl(
            entry->items[0], MP_STREAM_POLL, mp_obj_get_int(entry->items[1]), &error);
        if (flags != 0) {
            mp_obj_list_append(ready, mp_obj_new_tuple(2, (mp_obj_t[]) { entry->items[0], MP_OBJ_NEW_SMALL_INT(flags) }));
        }
    }
    return ready;
}

static mp_obj_t poll_poll(size_t count, const mp_obj_t *arguments) {
    poll_t *self = MP_OBJ_TO_PTR(arguments[0]);
    mp_int_t timeout = count > 1 && arguments[1] != mp_const_none ? mp_obj_get_int(arguments[1]) : -1;
    mp_uint_t start = mp_hal_ticks_ms();
    for (;;) {
        mp_obj_t ready = look(self);
        size_t length;
        mp_obj_t *items;
        mp_obj_list_get(ready, &length, &items);
        if (length > 0 || (timeout >= 0 && mp_hal_ticks_ms() - start >= (mp_uint_t)timeout)) {
            return ready;
        }
        mp_event_wait_ms(1);
    }
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(poll_poll_obj, 1, 2, poll_poll);

static const mp_rom_map_elem_t poll_members[] = {
    { MP_ROM_QSTR(MP_QSTR_register), MP_ROM_PTR(&poll_register_obj) },
    { MP_ROM_QSTR(MP_QSTR_modify), MP_ROM_PTR(&poll_register_obj) },
    { MP_ROM_QSTR(MP_QSTR_unregister), MP_ROM_PTR(&poll_unregister_obj) },
    { MP_ROM_QSTR(MP_QSTR_poll), MP_ROM_PTR(&poll_poll_obj) },
    { MP_ROM_QSTR(MP_QSTR_ipoll), MP_ROM_PTR(&poll_poll_obj) },
};
static MP_DEFINE_CONST_DICT(poll_dictionary, poll_members);
static MP_DEFINE_CONST_OBJ_TYPE(poll_type, MP_QSTR_poll, MP_TYPE_FLAG_NONE, locals_dict, &poll_dictionary);

static mp_obj_t select_poll(void) {
    poll_t *self = mp_obj_malloc(poll_t, &poll_type);
    mp_map_init(&self->watched, 0);
    return MP_OBJ_FROM_PTR(self);
}
static MP_DEFINE_CONST_FUN_OBJ_0(select_poll_obj, select_poll);

static const mp_rom_map_elem_t select_members[] = {
    { MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_select) },
    { MP_ROM_QSTR(MP_QSTR_poll), MP_ROM_PTR(&select_poll_obj) },
    { MP_ROM_QSTR(MP_QSTR_POLLIN), MP_ROM_INT(MP_STREAM_POLL_RD) },
    { MP_ROM_QSTR(MP_QSTR_POLLOUT), MP_ROM_INT(MP_STREAM_POLL_WR) },
    { MP_ROM_QSTR(MP_QSTR_POLLERR), MP_ROM_INT(MP_STREAM_POLL_ERR) },
    { MP_ROM_QSTR(MP_QSTR_POLLHUP), MP_ROM_INT(MP_STREAM_POLL_HUP) },
};
static MP_DEFINE_CONST_DICT(select_globals, select_members);
const mp_obj_module_t mp_module_select = { .base = { &mp_type_module }, .globals = (mp_obj_dict_t *)&select_globals };
MP_REGISTER_MODULE(MP_QSTR_select, mp_module_select);
