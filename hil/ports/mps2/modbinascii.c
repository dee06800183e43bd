// binascii and hashlib, as far as the firmware uses them: hexlify, unhexlify, crc32 (ISO 3309), sha256 (FIPS 180-4).
#include "py/runtime.h"
#include "board.h"

static mp_obj_t binascii_hexlify(mp_obj_t data) {
    mp_buffer_info_t source;
    mp_get_buffer_raise(data, &source, MP_BUFFER_READ);
    vstr_t text;
    vstr_init_len(&text, 2 * source.len);
    for (size_t i = 0; i < 2 * source.len; i++) {
        text.buf[i] = "0123456789abcdef"[((uint8_t *)source.buf)[i / 2] >> (i % 2 ? 0 : 4) & 15];
    }
    return mp_obj_new_bytes_from_vstr(&text);
}
static MP_DEFINE_CONST_FUN_OBJ_1(binascii_hexlify_obj, binascii_hexlify);

static int digit(uint8_t character) {
    if (character >= '0' && character <= '9') {
        return character - '0';
    }
    character |= 0x20;
    if (character < 'a' || character > 'f') {
        mp_raise_ValueError(MP_ERROR_TEXT("non-hex digit found"));
    }
    return character - 'a' + 10;
}

static mp_obj_t binascii_unhexlify(mp_obj_t text) {
    mp_buffer_info_t source;
    mp_get_buffer_raise(text, &source, MP_BUFFER_READ);
    if (source.len % 2) {
        mp_raise_ValueError(MP_ERROR_TEXT("odd-length string"));
    }
    vstr_t bytes;
    vstr_init_len(&bytes, source.len / 2);
    for (size_t i = 0; i < bytes.len; i++) {
        bytes.buf[i] = digit(((uint8_t *)source.buf)[2 * i]) << 4 | digit(((uint8_t *)source.buf)[2 * i + 1]);
    }
    return mp_obj_new_bytes_from_vstr(&bytes);
}
static MP_DEFINE_CONST_FUN_OBJ_1(binascii_unhexlify_obj, binascii_unhexlify);

static mp_obj_t binascii_crc32(size_t count, const mp_obj_t *arguments) {
    mp_buffer_info_t source;
    mp_get_buffer_raise(arguments[0], &source, MP_BUFFER_READ);
    uint32_t sum = ~(count > 1 ? (uint32_t)mp_obj_get_int_truncated(arguments[1]) : 0);
    for (size_t i = 0; i < source.len; i++) {
        sum ^= ((uint8_t *)source.buf)[i];
        for (int bit = 0; bit < 8; bit++) {
            sum = sum >> 1 ^ (sum & 1 ? 0xedb88320 : 0);
        }
    }
    return mp_obj_new_int_from_uint(~sum);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(binascii_crc32_obj, 1, 2, binascii_crc32);

static const mp_rom_map_elem_t binascii_members[] = {
    { MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_binascii) },
    { MP_ROM_QSTR(MP_QSTR_hexlify), MP_ROM_PTR(&binascii_hexlify_obj) },
    { MP_ROM_QSTR(MP_QSTR_unhexlify), MP_ROM_PTR(&binascii_unhexlify_obj) },
    { MP_ROM_QSTR(MP_QSTR_crc32), MP_ROM_PTR(&binascii_crc32_obj) },
};
static MP_DEFINE_CONST_DICT(binascii_globals, binascii_members);
const mp_obj_module_t mp_module_binascii = { .base = { &mp_type_module }, .globals = (mp_obj_dict_t *)&binascii_globals };
MP_REGISTER_MODULE(MP_QSTR_binascii, mp_module_binascii);

typedef struct {
    mp_obj_base_t base;
    sha256_t hash;
} hash_t;

static mp_obj_t hash_update(mp_obj_t self, mp_obj_t data) {
    mp_buffer_info_t source;
    mp_get_buffer_raise(data, &source, MP_BUFFER_READ);
    sha256_add(&((hash_t *)MP_OBJ_TO_PTR(self))->hash, source.buf, source.len);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_2(hash_update_obj, hash_update);

static mp_obj_t hash_make(const mp_obj_type_t *type, size_t positional, size_t named, const mp_obj_t *arguments) {
    mp_arg_check_num(positional, named, 0, 1, false);
    hash_t *self = mp_obj_malloc(hash_t, type);
    sha256_start(&self->hash);
    if (positional == 1) {
        hash_update(MP_OBJ_FROM_PTR(self), arguments[0]);
    }
    return MP_OBJ_FROM_PTR(self);
}

static mp_obj_t hash_digest(mp_obj_t self) {
    sha256_t copy = ((hash_t *)MP_OBJ_TO_PTR(self))->hash;
    uint8_t digest[32];
    sha256_end(&copy, digest);
    return mp_obj_new_bytes(digest, sizeof(digest));
}
static MP_DEFINE_CONST_FUN_OBJ_1(hash_digest_obj, hash_digest);

static const mp_rom_map_elem_t hash_members[] = {
    { MP_ROM_QSTR(MP_QSTR_update), MP_ROM_PTR(&hash_update_obj) },
    { MP_ROM_QSTR(MP_QSTR_digest), MP_ROM_PTR(&hash_digest_obj) },
};
static MP_DEFINE_CONST_DICT(hash_dictionary, hash_members);
static MP_DEFINE_CONST_OBJ_TYPE(sha256_type, MP_QSTR_sha256, MP_TYPE_FLAG_NONE, make_new, hash_make, locals_dict, &hash_dictionary);

static const mp_rom_map_elem_t hashlib_members[] = {
    { MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_hashlib) },
    { MP_ROM_QSTR(MP_QSTR_sha256), MP_ROM_PTR(&sha256_type) },
};
static MP_DEFINE_CONST_DICT(hashlib_globals, hashlib_members);
const mp_obj_module_t mp_module_hashlib = { .base = { &mp_type_module }, .globals = (mp_obj_dict_t *)&hashlib_globals };
MP_REGISTER_MODULE(MP_QSTR_hashlib, mp_module_hashlib);
