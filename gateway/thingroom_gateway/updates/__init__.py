"""Updates of devices' firmware: queued durably, announced until taken, served block by block, told when they are over.

update.py has the values, what goes on the wire and the sentences (pure), queue.py the queue, control.py what the
control socket asks of it, command_line.py `thingroom update`. See docs/updates.md.
"""
