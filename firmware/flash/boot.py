"""The first file that the board runs, and it leaves everything to main.py. No update touches either."""
