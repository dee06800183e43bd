// py/modsys.c asks for this file; what it defines is used by ports with the module platform only.
