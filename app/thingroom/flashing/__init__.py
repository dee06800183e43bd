"""`thingroom flash`, `thingroom monitor`, `thingroom devices`: from a board in its bag to a device in a room.

plan.py says what happens, in order, without doing anything; work.py does it. Beside them is one file for each thing at
the rim: ports, esptool, the raw REPL, UF2 drives, images, the gateway. Begin with commands.py.
"""
