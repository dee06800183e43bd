"""Commands to devices: queued durably, signed when sent, sent again until the device's signed result is here.

command.py has the values and what goes on the wire (pure), texts.py the sentences (pure), queue.py the queue,
command_line.py the commands of `thingroom gateway`. See docs/wire_format.md, "Commands".
"""
