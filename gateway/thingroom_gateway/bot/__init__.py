"""The bot: what people say in rooms, and what they are told.

inbox.py keeps what the homeserver tells of, language.py makes requests of it, people.py knows who may, commands/ has a
module for each request, worker.py runs it all. Answers go through the outbox like everything else.
"""
