"""The boards that the firmware runs on, each behind the protocol of board.py."""
