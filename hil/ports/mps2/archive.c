// Importing. Absolute paths are files on the EEPROMs (storage.c); all others are in the archive in the PSRAM, which is
// what a board has frozen in its flash. QEMU loads it.
//
// The archive: "TRA1", then for each file the length of its name (1 byte), the name, the length of its contents (4 bytes,
// little-endian), the contents; a length of 0 for a name ends it. archive.py beside this file writes it.
#include <string.h>
#include "py/builtin.h"
#include "py/lexer.h"
#include "py/mperrno.h"
#include "py/persistentcode.h"
#include "py/reader.h"
#include "py/runtime.h"
#include "py/stream.h"
#include "board.h"

#define ARCHIVE ((const uint8_t *)0x21000000)

static uint32_t length_at(const uint8_t *at) {
    return at[0] | at[1] << 8 | at[2] << 16 | (uint32_t)at[3] << 24;
}

static const uint8_t *find(const char *path, size_t *length, bool *is_folder) {
    size_t wanted = strlen(path);
    const uint8_t *at = ARCHIVE + 4;
    *is_folder = false;
    if (memcmp(ARCHIVE, "TRA1", 4) != 0) {
        return NULL;
    }
    while (*at != 0) {
        size_t name_length = *at;
        const char *name = (const char *)at + 1;
        const uint8_t *contents = at + 1 + name_length + 4;
        size_t size = length_at(contents - 4);
        if (name_length == wanted && memcmp(name, path, wanted) == 0) {
            *length = size;
            return contents;
        }
        if (name_length > wanted && name[wanted] == '/' && memcmp(name, path, wanted) == 0) {
            *is_folder = true;
        }
        at = contents + size;
    }
    return NULL;
}

mp_import_stat_t mp_import_stat(const char *path) {
    size_t length;
    bool is_folder;
    if (path[0] == '/') {
        static const mp_import_stat_t kinds[] = {MP_IMPORT_STAT_NO_EXIST, MP_IMPORT_STAT_FILE, MP_IMPORT_STAT_DIR};
        return kinds[storage_kind(path)];
    }
    if (find(path, &length, &is_folder) != NULL) {
        return MP_IMPORT_STAT_FILE;
    }
    return is_folder ? MP_IMPORT_STAT_DIR : MP_IMPORT_STAT_NO_EXIST;
}

// What is on the EEPROMs is read whole, into memory that is given back when the reader is closed.
static void read_stored(mp_reader_t *reader, const char *path) {
    mp_obj_t file = storage_open(path);
    struct mp_stream_seek_t seek = {.offset = 0, .whence = MP_SEEK_END};
    int error = 0;
    const mp_stream_p_t *stream = mp_get_stream(file);
    stream->ioctl(file, MP_STREAM_SEEK, (uintptr_t)&seek, &error);
    size_t size = seek.offset;
    seek = (struct mp_stream_seek_t) {.offset = 0, .whence = MP_SEEK_SET};
    stream->ioctl(file, MP_STREAM_SEEK, (uintptr_t)&seek, &error);
    uint8_t *contents = m_new(uint8_t, size);
    mp_uint_t got = mp_stream_read_exactly(file, contents, size, &error);
    mp_stream_close(file);
    if (error != 0 || got != size) {
        mp_raise_OSError(error ? error : MP_EIO);
    }
    mp_reader_new_mem(reader, contents, size, size);
}

void mp_reader_new_file(mp_reader_t *reader, qstr filename) {
    size_t length;
    bool is_folder;
    if (qstr_str(filename)[0] == '/') {
        read_stored(reader, qstr_str(filename));
        return;
    }
    const uint8_t *contents = find(qstr_str(filename), &length, &is_folder);
    if (contents == NULL) {
        mp_raise_OSError(MP_ENOENT);
    }
    mp_reader_new_mem(reader, contents, length, MP_READER_IS_ROM);
}

mp_lexer_t *mp_lexer_new_from_file(qstr filename) {
    mp_reader_t reader;
    mp_reader_new_file(&reader, filename);
    return mp_lexer_new(filename, reader);
}
