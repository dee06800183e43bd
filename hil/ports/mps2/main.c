// The port's start: heap, `main.py` or `main.mpy` of the archive if there is one, then the REPL.
#include "py/builtin.h"
#include "py/compile.h"
#include "py/cstack.h"
#include "py/gc.h"
#include "py/mphal.h"
#include "py/runtime.h"
#include "shared/runtime/gchelper.h"
#include "shared/runtime/pyexec.h"
#include "board.h"

extern uint8_t _heap_start, _heap_end, _stack_top, _stack_size;

static int run_main(void) {
    nlr_buf_t nlr;
    if (nlr_push(&nlr) == 0) {
        mp_obj_t name = MP_OBJ_NEW_QSTR(qstr_from_str("main"));
        mp_builtin___import__(1, &name);
        nlr_pop();
        return 0;
    }
    mp_obj_t raised = MP_OBJ_FROM_PTR(nlr.ret_val);
    if (mp_obj_is_subclass_fast(MP_OBJ_FROM_PTR(mp_obj_get_type(raised)), MP_OBJ_FROM_PTR(&mp_type_SystemExit))) {
        mp_obj_t value = mp_obj_exception_get_value(raised);
        return value == mp_const_none ? 0 : mp_obj_get_int(value);
    }
    mp_obj_print_exception(&mp_plat_print, raised);
    return 1;
}

int main(void) {
    uart_start(0, 115200);
    clock_start();
    mp_cstack_init_with_top(&_stack_top, (size_t)&_stack_size);
    gc_init(&_heap_start, &_heap_end);
    mp_init();
    storage_mount();
    if (mp_import_stat("main.py") == MP_IMPORT_STAT_FILE || mp_import_stat("main.mpy") == MP_IMPORT_STAT_FILE) {
        int code = run_main();
        mp_deinit();
        return code;
    }
    while (pyexec_friendly_repl() == 0) {
    }
    mp_deinit();
    return 0;
}

void gc_collect(void) {
    gc_collect_start();
    gc_helper_collect_regs_and_stack();
    gc_collect_end();
}

void nlr_jump_fail(void *value) {
    (void)value;
    leave_emulation(251);
}
