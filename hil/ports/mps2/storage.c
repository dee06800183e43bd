// The file system that survives: littlefs on up to eight AT24C EEPROMs of 64 KB at 0x50 to 0x57 of the fourth I2C bus, one
// after the other as one block device. The module os and `open` are made here; paths beside it come from archive.c.
#include <string.h>
#include "lfs.h"
#include "py/builtin.h"
#include "py/mperrno.h"
#include "py/objstr.h"
#include "py/runtime.h"
#include "py/stream.h"
#include "board.h"

#define BUS (3)
#define FIRST_ADDRESS (0x50)
#define CHIP_BYTES (65536)
#define CHIPS (8)
#define BLOCK_BYTES (512)
// What the chip takes in one write.
#define PAGE_BYTES (128)
#define CACHE_BYTES (256)
#define LOOKAHEAD_BYTES (64)

static lfs_t files;
static bool mounted;
static uint8_t read_cache[CACHE_BYTES], write_cache[CACHE_BYTES];
static uint32_t lookahead[LOOKAHEAD_BYTES / 4];

static bool select_byte(lfs_block_t block, lfs_off_t offset, uint8_t *chip, uint8_t place[2]) {
    uint32_t at = block * BLOCK_BYTES + offset;
    *chip = FIRST_ADDRESS + at / CHIP_BYTES;
    place[0] = at % CHIP_BYTES >> 8;
    place[1] = at;
    return true;
}

static int device_read(const struct lfs_config *config, lfs_block_t block, lfs_off_t offset, void *data, lfs_size_t size) {
    (void)config;
    uint8_t chip, place[2];
    select_byte(block, offset, &chip, place);
    return i2c_write(BUS, chip, place, 2, false) && i2c_read(BUS, chip, data, size) ? 0 : LFS_ERR_IO;
}

static int device_write(const struct lfs_config *config, lfs_block_t block, lfs_off_t offset, const void *data, lfs_size_t size) {
    (void)config;
    const uint8_t *from = data;
    while (size > 0) {
        uint8_t chip, message[2 + PAGE_BYTES];
        lfs_size_t part = PAGE_BYTES - offset % PAGE_BYTES;
        part = part < size ? part : size;
        select_byte(block, offset, &chip, message);
        memcpy(message + 2, from, part);
        if (!i2c_write(BUS, chip, message, 2 + part, true)) {
            return LFS_ERR_IO;
        }
        from += part;
        offset += part;
        size -= part;
    }
    return 0;
}

// An EEPROM is written byte by byte and needs no erasing.
static int device_erase(const struct lfs_config *config, lfs_block_t block) {
    (void)config, (void)block;
    return 0;
}

static int device_sync(const struct lfs_config *config) {
    (void)config;
    return 0;
}

static struct lfs_config configuration = {
    .read = device_read, .prog = device_write, .erase = device_erase, .sync = device_sync,
    .read_size = 16, .prog_size = 16, .block_size = BLOCK_BYTES, .block_cycles = 1000,
    .cache_size = CACHE_BYTES, .lookahead_size = LOOKAHEAD_BYTES,
    .read_buffer = read_cache, .prog_buffer = write_cache, .lookahead_buffer = lookahead,
};

bool storage_mount(void) {
    int chips = 0;
    i2c_start(BUS);
    while (chips < CHIPS && i2c_write(BUS, FIRST_ADDRESS + chips, NULL, 0, true)) {
        chips++;
    }
    if (chips == 0) {
        return false;
    }
    configuration.block_count = chips * (CHIP_BYTES / BLOCK_BYTES);
    mounted = lfs_mount(&files, &configuration) == 0;
    if (!mounted) {
        mounted = lfs_format(&files, &configuration) == 0 && lfs_mount(&files, &configuration) == 0;
    }
    return mounted;
}

static int checked(int result) {
    if (result < 0) {
        // littlefs gives its errors Linux's numbers, as MicroPython does, with a few of its own.
        mp_raise_OSError(result == LFS_ERR_CORRUPT ? MP_EIO : -result);
    }
    return result;
}

static const char *path_of(mp_obj_t path) {
    if (!mounted) {
        mp_raise_OSError(MP_ENODEV);
    }
    return mp_obj_str_get_str(path);
}

// --- files -----------------------------------------------------------------------------------------------------------

typedef struct {
    mp_obj_base_t base;
    bool open;
    lfs_file_t file;
    struct lfs_file_config config;
    uint8_t buffer[CACHE_BYTES];
} file_t;

static mp_uint_t file_read(mp_obj_t self_in, void *data, mp_uint_t size, int *error) {
    file_t *self = MP_OBJ_TO_PTR(self_in);
    lfs_ssize_t result = self->open ? lfs_file_read(&files, &self->file, data, size) : LFS_ERR_BADF;
    if (result < 0) {
        *error = -result;
        return MP_STREAM_ERROR;
    }
    return result;
}

static mp_uint_t file_write(mp_obj_t self_in, const void *data, mp_uint_t size, int *error) {
    file_t *self = MP_OBJ_TO_PTR(self_in);
    lfs_ssize_t result = self->open ? lfs_file_write(&files, &self->file, data, size) : LFS_ERR_BADF;
    if (result < 0) {
        *error = -result;
        return MP_STREAM_ERROR;
    }
    return result;
}

static mp_uint_t file_ioctl(mp_obj_t self_in, mp_uint_t request, uintptr_t argument, int *error) {
    file_t *self = MP_OBJ_TO_PTR(self_in);
    int result = 0;
    if (request == MP_STREAM_CLOSE) {
        if (self->open) {
            self->open = false;
            result = lfs_file_close(&files, &self->file);
        }
    } else if (!self->open) {
        result = LFS_ERR_BADF;
    } else if (request == MP_STREAM_FLUSH) {
        result = lfs_file_sync(&files, &self->file);
    } else if (request == MP_STREAM_SEEK) {
        struct mp_stream_seek_t *seek = (struct mp_stream_seek_t *)argument;
        result = lfs_file_seek(&files, &self->file, seek->offset, seek->whence);
        if (result >= 0) {
            seek->offset = result;
            result = 0;
        }
    } else {
        result = -MP_EINVAL;
    }
    if (result < 0) {
        *error = -result;
        return MP_STREAM_ERROR;
    }
    return 0;
}

static const mp_rom_map_elem_t file_members[] = {
    { MP_ROM_QSTR(MP_QSTR_read), MP_ROM_PTR(&mp_stream_read_obj) },
    { MP_ROM_QSTR(MP_QSTR_readinto), MP_ROM_PTR(&mp_stream_readinto_obj) },
    { MP_ROM_QSTR(MP_QSTR_readline), MP_ROM_PTR(&mp_stream_unbuffered_readline_obj) },
    { MP_ROM_QSTR(MP_QSTR_write), MP_ROM_PTR(&mp_stream_write_obj) },
    { MP_ROM_QSTR(MP_QSTR_flush), MP_ROM_PTR(&mp_stream_flush_obj) },
    { MP_ROM_QSTR(MP_QSTR_seek), MP_ROM_PTR(&mp_stream_seek_obj) },
    { MP_ROM_QSTR(MP_QSTR_tell), MP_ROM_PTR(&mp_stream_tell_obj) },
    { MP_ROM_QSTR(MP_QSTR_close), MP_ROM_PTR(&mp_stream_close_obj) },
    { MP_ROM_QSTR(MP_QSTR___del__), MP_ROM_PTR(&mp_stream_close_obj) },
    { MP_ROM_QSTR(MP_QSTR___enter__), MP_ROM_PTR(&mp_identity_obj) },
    { MP_ROM_QSTR(MP_QSTR___exit__), MP_ROM_PTR(&mp_stream___exit___obj) },
};
static MP_DEFINE_CONST_DICT(file_dictionary, file_members);

static const mp_stream_p_t bytes_protocol = { .read = file_read, .write = file_write, .ioctl = file_ioctl };
static const mp_stream_p_t text_protocol = { .read = file_read, .write = file_write, .ioctl = file_ioctl, .is_text = true };

static MP_DEFINE_CONST_OBJ_TYPE(
    bytes_file_type, MP_QSTR_FileIO, MP_TYPE_FLAG_ITER_IS_STREAM, protocol, &bytes_protocol, locals_dict, &file_dictionary);
static MP_DEFINE_CONST_OBJ_TYPE(
    text_file_type, MP_QSTR_TextIOWrapper, MP_TYPE_FLAG_ITER_IS_STREAM, protocol, &text_protocol, locals_dict, &file_dictionary);

static mp_obj_t open_file(size_t count, const mp_obj_t *arguments, mp_map_t *named) {
    (void)named;
    const char *path = path_of(arguments[0]);
    const char *mode = count > 1 ? mp_obj_str_get_str(arguments[1]) : "r";
    const mp_obj_type_t *type = &text_file_type;
    int flags = LFS_O_RDONLY;
    for (; *mode; mode++) {
        switch (*mode) {
            case 'w':
                flags = LFS_O_WRONLY | LFS_O_CREAT | LFS_O_TRUNC;
                break;
            case 'a':
                flags = LFS_O_WRONLY | LFS_O_CREAT | LFS_O_APPEND;
                break;
            case '+':
                flags |= LFS_O_RDWR;
                break;
            case 'b':
                type = &bytes_file_type;
                break;
        }
    }
    file_t *file = mp_obj_malloc_with_finaliser(file_t, type);
    file->open = false;
    memset(&file->config, 0, sizeof(file->config));
    file->config.buffer = file->buffer;
    checked(lfs_file_opencfg(&files, &file->file, path, flags, &file->config));
    file->open = true;
    return MP_OBJ_FROM_PTR(file);
}
MP_DEFINE_CONST_FUN_OBJ_KW(mp_builtin_open_obj, 1, open_file);

// --- os --------------------------------------------------------------------------------------------------------------

static mp_obj_t os_listdir(size_t count, const mp_obj_t *arguments) {
    const char *path = count > 0 ? path_of(arguments[0]) : "/";
    mp_obj_t names = mp_obj_new_list(0, NULL);
    lfs_dir_t folder;
    struct lfs_info info;
    checked(lfs_dir_open(&files, &folder, path));
    while (lfs_dir_read(&files, &folder, &info) > 0) {
        if (strcmp(info.name, ".") != 0 && strcmp(info.name, "..") != 0) {
            mp_obj_list_append(names, mp_obj_new_str(info.name, strlen(info.name)));
        }
    }
    lfs_dir_close(&files, &folder);
    return names;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(os_listdir_obj, 0, 1, os_listdir);

static mp_obj_t os_stat(mp_obj_t path) {
    struct lfs_info info = { .type = LFS_TYPE_DIR, .size = 0 };
    const char *name = path_of(path);
    checked(lfs_stat(&files, name, &info));
    mp_obj_t items[10];
    for (int i = 0; i < 10; i++) {
        items[i] = MP_OBJ_NEW_SMALL_INT(0);
    }
    items[0] = MP_OBJ_NEW_SMALL_INT(info.type == LFS_TYPE_DIR ? 0x4000 : 0x8000);
    items[6] = MP_OBJ_NEW_SMALL_INT(info.size);
    return mp_obj_new_tuple(10, items);
}
static MP_DEFINE_CONST_FUN_OBJ_1(os_stat_obj, os_stat);

static mp_obj_t os_statvfs(mp_obj_t path) {
    path_of(path);
    mp_obj_t items[10];
    for (int i = 0; i < 10; i++) {
        items[i] = MP_OBJ_NEW_SMALL_INT(0);
    }
    int free = configuration.block_count - checked(lfs_fs_size(&files));
    items[0] = items[1] = MP_OBJ_NEW_SMALL_INT(BLOCK_BYTES);
    items[2] = MP_OBJ_NEW_SMALL_INT(configuration.block_count);
    items[3] = items[4] = MP_OBJ_NEW_SMALL_INT(free);
    items[9] = MP_OBJ_NEW_SMALL_INT(LFS_NAME_MAX);
    return mp_obj_new_tuple(10, items);
}
static MP_DEFINE_CONST_FUN_OBJ_1(os_statvfs_obj, os_statvfs);

static mp_obj_t os_remove(mp_obj_t path) {
    checked(lfs_remove(&files, path_of(path)));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(os_remove_obj, os_remove);

static mp_obj_t os_rename(mp_obj_t from, mp_obj_t to) {
    checked(lfs_rename(&files, path_of(from), path_of(to)));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_2(os_rename_obj, os_rename);

static mp_obj_t os_mkdir(mp_obj_t path) {
    checked(lfs_mkdir(&files, path_of(path)));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(os_mkdir_obj, os_mkdir);

static mp_obj_t os_sync(void) {
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_0(os_sync_obj, os_sync);

static mp_obj_t os_urandom(mp_obj_t length) {
    vstr_t bytes;
    vstr_init_len(&bytes, mp_obj_get_int(length));
    random_bytes((uint8_t *)bytes.buf, bytes.len);
    return mp_obj_new_bytes_from_vstr(&bytes);
}
static MP_DEFINE_CONST_FUN_OBJ_1(os_urandom_obj, os_urandom);

static const mp_rom_map_elem_t os_members[] = {
    { MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_os) },
    { MP_ROM_QSTR(MP_QSTR_listdir), MP_ROM_PTR(&os_listdir_obj) },
    { MP_ROM_QSTR(MP_QSTR_stat), MP_ROM_PTR(&os_stat_obj) },
    { MP_ROM_QSTR(MP_QSTR_statvfs), MP_ROM_PTR(&os_statvfs_obj) },
    { MP_ROM_QSTR(MP_QSTR_remove), MP_ROM_PTR(&os_remove_obj) },
    { MP_ROM_QSTR(MP_QSTR_rmdir), MP_ROM_PTR(&os_remove_obj) },
    { MP_ROM_QSTR(MP_QSTR_rename), MP_ROM_PTR(&os_rename_obj) },
    { MP_ROM_QSTR(MP_QSTR_mkdir), MP_ROM_PTR(&os_mkdir_obj) },
    { MP_ROM_QSTR(MP_QSTR_sync), MP_ROM_PTR(&os_sync_obj) },
    { MP_ROM_QSTR(MP_QSTR_urandom), MP_ROM_PTR(&os_urandom_obj) },
};
static MP_DEFINE_CONST_DICT(os_globals, os_members);

const mp_obj_module_t mp_module_os = { .base = { &mp_type_module }, .globals = (mp_obj_dict_t *)&os_globals };
MP_REGISTER_EXTENSIBLE_MODULE(MP_QSTR_os, mp_module_os);

// --- for imports (archive.c) -----------------------------------------------------------------------------------------

int storage_kind(const char *path) {
    struct lfs_info info;
    if (!mounted || lfs_stat(&files, path, &info) < 0) {
        return 0;
    }
    return info.type == LFS_TYPE_DIR ? 2 : 1;
}

void *storage_open(const char *path) {
    mp_obj_t arguments[2] = { mp_obj_new_str(path, strlen(path)), MP_OBJ_NEW_QSTR(MP_QSTR_rb) };
    mp_map_t none = { 0 };
    return open_file(2, arguments, &none);
}
