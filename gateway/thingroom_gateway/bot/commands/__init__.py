"""One module a command: a request and a Place to say it in, an Answer to give. table.py lists them."""
