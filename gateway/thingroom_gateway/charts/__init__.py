"""Charts of readings as PNG pictures.

chart.py says what a chart is, prepare.py makes one of series, ticks.py its axes, draw.py the picture (matplotlib), and
process.py does the drawing in a process that is there only while pictures are asked for.
"""
