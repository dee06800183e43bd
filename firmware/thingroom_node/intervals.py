"""Sets of sequence numbers as sorted lists of closed intervals `[first, last]`. Pure; imports nothing.

A list of two-element lists, disjoint, ascending, never adjacent. Functions change the list they are given and say what
changed: on a board one list per segment is kept for the whole run and nothing is copied.
Used by outbox.py, which is where the reading goes next.
"""


def add(intervals, number):
    """Put `number`, which must be greater than every number inside, at the end."""
    if intervals and number == intervals[-1][1] + 1:
        intervals[-1][1] = number
    elif intervals and number <= intervals[-1][1]:
        raise ValueError("numbers are added in ascending order")
    else:
        intervals.append([number, number])


def subtract(intervals, first, last):
    """Take the numbers `first` to `last` out. Returns how many were inside."""
    taken = 0
    index = 0
    while index < len(intervals):
        low, high = intervals[index]
        if low > last:
            break
        if high < first:
            index += 1
            continue
        cut_first = max(low, first)
        cut_last = min(high, last)
        taken += cut_last - cut_first + 1
        left = low < cut_first
        right = cut_last < high
        if left and right:
            intervals[index][1] = cut_first - 1
            intervals.insert(index + 1, [cut_last + 1, high])
            break
        if left:
            intervals[index][1] = cut_first - 1
            index += 1
        elif right:
            intervals[index][0] = cut_last + 1
            break
        else:
            del intervals[index]
    return taken


def count(intervals):
    """How many numbers are inside."""
    total = 0
    for low, high in intervals:
        total += high - low + 1
    return total


def contains(intervals, number):
    """Whether `number` is inside."""
    for low, high in intervals:
        if low <= number <= high:
            return True
        if number < low:
            return False
    return False


def next_after(intervals, number):
    """The smallest number inside that is greater than `number`, or None."""
    for low, high in intervals:
        if high > number:
            return low if low > number else number + 1
    return None
