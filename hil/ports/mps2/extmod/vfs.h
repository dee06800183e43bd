// py/runtime.c asks for this file; what it defines is used by ports with file systems only.
